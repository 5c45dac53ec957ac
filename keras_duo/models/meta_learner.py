"""MetaLearner: a loss with coefficients, and how they are learned."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_duo._serialize import loss_from_config, loss_to_config, reduced_by
from keras_duo._validate import choice, flag, integer, number, optional
from keras_duo.losses import LearnedLoss
from keras_duo.losses._learned_forms import (
    POWERS,
    absolute_error,
    bounds,
    known_coefficients,
    loss_values,
)

METHODS = ("alignment", "lookahead")
# The mean absolute error holds longest, but may never find one of the classes; a mixture near it
# finds them.
_ROBUST = tuple(
    (*(shares.get(power, 0.0) for power in POWERS), 0.0)
    for shares in ({1.0: 1.0}, {0.5: 0.25, 1.0: 0.75})
)


class MetaLearner:
    """L_phi(y_true, y_pred), a loss whose coefficients phi are learned from how models train by it.

        meta_loss = keras_duo.MetaLearner()
        meta_loss(y_true, y_pred)  # one value an example; before learning, the cross-entropy
        meta_loss.learn(make_model, (x, y), (x_held_out, y_held_out))
        model.compile("adam", loss=meta_loss.to_loss())

    `learn` trains models by L_phi and moves phi as they go, by what helps on held-out examples:

        alignment: phi += learning_rate * d/dphi cos(grad L_phi, grad V), V the validation loss,
                   with the angle that the optimizer's own step sizes give;
        lookahead: phi -= learning_rate * d/dphi V(theta'), theta' after some inner steps.

    Each time phi is brought back to the nearest coefficients that the form allows. The held-out
    labels may be as noisy as the others. `MetaModel` does the same while a single model trains.
    Output activation: softmax, or linear with `from_logits=True` or for a regression.

    Args:
        form: "mixture", "taylor" or "network", as in `LearnedLoss`.
        coefficients: Where phi starts; None: the cross-entropy, or the squared error.
        task: "classification" or "regression".
        from_logits: Whether models put out logits.
        scale: As in `LearnedLoss`; for a regression.
        axis: As in `LearnedLoss`.
        validation_loss: V, a Keras loss. None: the mean absolute error, of a classification 1 - p
            of the label, which symmetric label noise shrinks and does not turn.
        method: "alignment" or "lookahead".
        learning_rate: Step size of phi, > 0.
        interval: Steps of the model for each one of phi.
        first_order: Whether a lookahead leaves out second derivatives by the weights.
        settle: Steps of a model, after its warm-up, in which phi moves. In the second half of them
            its steps shorten to 0; then terms of a mixture below 1/50 go out, and phi stays as it
            is: a model that has learned some wrong labels by heart teaches to learn more. None: phi
            moves for ever.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Bechtle et al., Meta-Learning via Learned Loss, 2019, arXiv:1906.05374, for the lookahead.

    Example:
        >>> import keras_duo
        >>> float(keras_duo.MetaLearner()([[0, 1, 0]], [[0.1, 0.8, 0.1]])[0])
        0.22314...
    """

    def __init__(
        self,
        form: str = "mixture",
        coefficients: Any = None,
        task: str = "classification",
        from_logits: bool = False,
        scale: float = 1.0,
        axis: int = -1,
        validation_loss: keras.losses.Loss | None = None,
        method: str = "alignment",
        learning_rate: float = 0.1,
        interval: int = 2,
        first_order: bool = False,
        settle: int | None = 750,
    ) -> None:
        # The rules of these arguments are those of the loss.
        loss = LearnedLoss(
            form=form,
            coefficients=coefficients,
            task=task,
            from_logits=from_logits,
            scale=scale,
            axis=axis,
        )
        self.form, self.task, self.from_logits = loss.form, loss.task, loss.from_logits
        self.scale, self.axis = loss.scale, loss.axis
        self.coefficients = known_coefficients(form, loss.coefficients)
        if validation_loss is not None and not isinstance(validation_loss, keras.losses.Loss):
            raise ValueError(
                "`validation_loss` must be None or a keras.losses.Loss instance. "
                f"Received: validation_loss={validation_loss!r}"
            )
        self.validation_loss = validation_loss
        self.method = choice(*METHODS)("method", method)
        self.learning_rate = number(above=0)("learning_rate", learning_rate)
        self.interval = integer(at_least=1)("interval", interval)
        self.settle = optional(integer(at_least=1))("settle", settle)
        self.first_order = flag()("first_order", first_order)
        self.history: list[dict[str, Any]] = []

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example, as it stands."""
        return self.values(self.coefficients, y_true, y_pred)

    def values(self, coefficients: Any, y_true: Any, y_pred: Any) -> Any:
        """The loss of each example at other coefficients, by which it can be differentiated."""
        return loss_values(
            y_true,
            y_pred,
            self.form,
            coefficients,
            self.task,
            self.from_logits,
            self.axis,
            self.scale,
        )

    def validation_values(self, y_true: Any, y_pred: Any) -> Any:
        """V of each example."""
        if self.validation_loss is not None:
            return reduced_by(self.validation_loss, "none")(y_true, y_pred)
        return absolute_error(y_true, y_pred, self.task, self.from_logits, self.axis)

    @property
    def robust_coefficients(self) -> tuple[tuple[float, ...], ...]:
        """Those of V and of a mixture near it, which are judged beside what is learned."""
        if self.form != "mixture" or self.task == "regression" or self.validation_loss is not None:
            return ()
        return _ROBUST

    def learn(
        self,
        make_model: Callable[[], keras.Model],
        train_data: tuple[Any, Any],
        validation_data: tuple[Any, Any],
        inner_optimizer: Any = "adam",
        steps: int = 800,
        unroll: int = 1,
        warmup: int = 20,
        *,
        batch_size: int = 128,
        validation_batch_size: int = 256,
        restarts: int = 1,
        seed: int = 0,
        verbose: int = 1,
        checkpoint: Any = None,
    ) -> list[dict[str, Any]]:
        """Train new models by the loss and move its coefficients as they go; keep the best.

        Each restart trains a model while phi moves, for half of the steps, takes the median of phi
        over these, and judges that by a second model, which trains by it from its beginning to its
        end. For a classification V is judged in the same way, and if it misses a class, a mixture
        near it, 0.25 (1 - p^0.5) / 0.5 + 0.75 (1 - p). The best is kept.

        Args:
            make_model: Called for each restart; returns a new model, which need not be compiled.
            train_data: (x, y), arrays.
            validation_data: (x, y), arrays of other examples, with labels of the same quality.
            inner_optimizer: SGD, Adam, AdamW or RMSprop, or a name of one; as the loss will be
                used with.
            steps: Training steps of the models that judge. The length of a usual training run fits:
                a loss that is to hold at the end of training has to be judged there.
            unroll: Inner steps of a lookahead, each on its share of a batch.
            warmup: Training steps of each model before phi moves.
            batch_size: Size of the training batches.
            validation_batch_size: Size of the held-out batches; drawn with repeats. The noisier the
                labels, the more of them it takes for a direction to show.
            restarts: How often; phi goes on from the median.
            seed: Initial weights, order of the batches, and which ones are held out. Sets the
                global seed of Keras.
            verbose: 1 for a progress bar, 0 for silence.
            checkpoint: A file to write after each pass over the data. A call with the same
                arguments goes on from there and ends as if it had not stopped.

        Returns:
            `history`, also kept as an attribute: a record of each pass over the data, with the
            coefficients and the part: "learn", "judge" or "validation". The last one of a model
            that judges has its validation loss, by which the coefficients are chosen, and the
            number of classes that it missed.

        Raises:
            ValueError: If an argument is out of range; if the data are not finite, hold one class
                or one number only, or are the same for training and validation.
            NotImplementedError: On a backend other than TensorFlow, or for another optimizer.
            tensorflow.errors.InvalidArgumentError: If the loss or its gradient is not finite.
        """
        from keras_duo.models import _meta_run

        coefficients, self.history = _meta_run.run(
            self,
            make_model,
            _meta_run.examples("train_data", train_data, self.task, self.axis),
            _meta_run.examples("validation_data", validation_data, self.task, self.axis),
            _meta_run.Settings(
                steps=integer(at_least=1)("steps", steps),
                unroll=self.known_unroll(unroll),
                warmup=integer(at_least=0)("warmup", warmup),
                batch_size=integer(at_least=1)("batch_size", batch_size),
                validation_batch_size=integer(at_least=1)(
                    "validation_batch_size", validation_batch_size
                ),
                restarts=integer(at_least=1)("restarts", restarts),
                seed=integer(at_least=0)("seed", seed),
            ),
            keras.optimizers.get(inner_optimizer),
            bool(verbose),
            checkpoint,
        )
        self.coefficients = self.at(coefficients).coefficients
        return self.history

    def to_loss(self, digits: int = 4, **kwargs: Any) -> LearnedLoss:
        """The loss as it stands, frozen: an ordinary registered loss, on every backend.

        Args:
            digits: Decimal places that the coefficients are rounded to.
            **kwargs: `reduction`, `name`, `dtype`.
        """
        rounded = [
            min(max(round(value, digits), low), high)
            for value, low, high in zip(self.coefficients, *bounds(self.form), strict=True)
        ]
        if self.form == "mixture":  # the largest one makes up for the rest
            largest = int(np.argmax(rounded))
            rounded[largest] = round(rounded[largest] + 1.0 - sum(rounded), digits)
        return LearnedLoss(
            form=self.form,
            coefficients=rounded,
            task=self.task,
            from_logits=self.from_logits,
            scale=self.scale,
            axis=self.axis,
            **kwargs,
        )

    def at(self, coefficients: Any) -> "MetaLearner":
        """The same learner at other coefficients."""
        # In float32 they may lie a rounding error outside of the bounds, or sum to 1 less exactly.
        plain = np.clip(np.asarray(coefficients, "float64"), *bounds(self.form))
        if self.form == "mixture":
            plain = plain / plain.sum()
        return MetaLearner(**{**self._arguments(), "coefficients": plain.tolist()})

    def known_unroll(self, unroll: int) -> int:
        """`unroll`, if the method takes that many inner steps."""
        unroll = integer(at_least=1)("unroll", unroll)
        if self.method == "alignment" and unroll != 1:
            raise ValueError(
                "`unroll` must be 1 for the alignment, which looks at one step. "
                f"Received: unroll={unroll}"
            )
        return unroll

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor, in plain form."""
        loss = self.validation_loss
        config = None if loss is None else loss_to_config(loss)
        return {**self._arguments(), "validation_loss": config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MetaLearner":
        """Rebuild the learner; its validation loss must be Keras' own or a registered one."""
        loss = config["validation_loss"]
        return cls(
            **{**config, "validation_loss": None if loss is None else loss_from_config(loss)}
        )

    def _arguments(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "history"}
