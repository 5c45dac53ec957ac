"""MetaModel: one model trains, and the loss that it is trained by learns meanwhile."""

from typing import Any

import keras
import numpy as np
from keras import backend, ops

from keras_duo._register import register
from keras_duo._serialize import model_from_config
from keras_duo._validate import integer
from keras_duo.losses import LearnedLoss
from keras_duo.models.meta_learner import MetaLearner


@register
class MetaModel(keras.Model):
    """Online form of `MetaLearner`: theta descends L_phi, and phi what helps on held-out examples.

    Each step of `fit` is one of the optimizer on mean(L_phi). Every `learner.interval` steps, after
    the first `warmup`, phi moves as well, by what a batch drawn from `held_out` says. TensorFlow
    only. Output activation: softmax, or linear for logits and for a regression.

    Args:
        model: The model to train. It stays usable by itself, as `meta_model.model`.
        learner: A `MetaLearner`: the form of the loss, its first coefficients, and how they learn.
        held_out: (x, y), arrays that `fit` is not given; noisy labels will do. They are not saved:
            after loading, set `meta_model.held_out` before training on.
        warmup: Steps before the first one of phi.
        unroll: Inner steps of a lookahead, each on its share of the batch.
        batch_size: Size of the batches drawn from `held_out`.
        seed: Which batches are drawn.
        **kwargs: `name`, `dtype`, `trainable`.

    Logged: `loss`, and under the name of the method ("alignment", "lookahead") the mean of what phi
    improves.

    Raises:
        ValueError: If an argument is out of range, or `held_out` is missing in training.
        NotImplementedError: On a backend other than TensorFlow, for an optimizer other than SGD,
            Adam, AdamW and RMSprop, for `sample_weight`, or on several replicas.
        tensorflow.errors.InvalidArgumentError: If the loss or its gradient is not finite.

    Source:
        Bechtle et al., Meta-Learning via Learned Loss, 2019, arXiv:1906.05374.

    Example:
        >>> import keras, keras_duo, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> x, y = np.ones((8, 4), "float32"), np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]
        >>> meta = keras_duo.MetaModel(model, keras_duo.MetaLearner(), held_out=(x[4:], y[4:]))
        >>> meta.compile("adam", metrics=["accuracy"])
        >>> _ = meta.fit(x[:4], y[:4], verbose=0)
        >>> meta.to_loss().form
        'mixture'
    """

    def __init__(
        self,
        model: keras.Model,
        learner: MetaLearner,
        held_out: tuple[Any, Any] | None = None,
        warmup: int = 20,
        unroll: int = 1,
        batch_size: int = 256,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if not isinstance(model, keras.Model):
            raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
        if not isinstance(learner, MetaLearner):
            raise ValueError(f"`learner` must be a MetaLearner. Received: learner={learner!r}")
        super().__init__(**{"autocast": False, "dtype": model.dtype_policy, **kwargs})
        self.model = model
        self.learner = learner
        self.held_out = held_out
        self.warmup = integer(at_least=0)("warmup", warmup)
        self.unroll = learner.known_unroll(unroll)
        self.batch_size = integer(at_least=1)("batch_size", batch_size)
        self.seed = integer(at_least=0)("seed", seed)
        self.coefficients = self.add_weight(
            shape=(len(learner.coefficients),),
            name="coefficients",
            dtype=backend.result_type(model.variable_dtype, "float32"),
            initializer=lambda shape, dtype: ops.convert_to_tensor(learner.coefficients, dtype),
            trainable=False,
            autocast=False,
        )
        self.step = self.add_weight(
            shape=(), name="step", dtype="int32", initializer="zeros", trainable=False
        )
        self._seen = keras.metrics.Mean(name=learner.method)
        self.built = model.built

    @property
    def held_out(self) -> tuple[Any, Any] | None:
        """The examples that phi learns from, as tensors."""
        return self._held_out.parts

    @held_out.setter
    def held_out(self, parts: tuple[Any, Any] | None) -> None:
        if parts is not None:
            if not isinstance(parts, tuple | list) or len(parts) != 2:
                raise ValueError(
                    f"`held_out` must be a tuple (x, y) of arrays. Received: {type(parts).__name__}"
                )
            parts = tuple(_tensor(part) for part in parts)
        self._held_out = _Untracked(parts)

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Set the optimizer of the model and its metrics, as in Keras; the loss is learned.

        Args:
            optimizer: SGD, Adam, AdamW or RMSprop, or a name of one.
            **kwargs: What else `keras.Model.compile` takes, but not `loss`.

        Raises:
            ValueError: If a `loss` is given.
            NotImplementedError: For another optimizer, or another backend.
        """
        if backend.backend() != "tensorflow":
            raise NotImplementedError(
                "A loss is learned on the TensorFlow backend; what was learned works on all of "
                f"them. Received: backend={backend.backend()!r}"
            )
        if kwargs.get("loss") is not None:
            raise ValueError(
                "`loss` must not be given: it is the learned one. "
                f"Received: loss={kwargs['loss']!r}"
            )
        # XLA, which Keras turns on where there is an accelerator, drops the checks of the step.
        super().compile(optimizer=optimizer, **{"jit_compile": False, **kwargs})
        o = keras.optimizers
        if not isinstance(self.optimizer, o.SGD | o.Adam | o.RMSprop):
            raise NotImplementedError(
                "`optimizer` must be SGD, Adam, AdamW or RMSprop, whose step sizes are known. "
                f"Received: optimizer={self.optimizer!r}"
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The output of the model."""
        return self.model(inputs, training=training)

    def to_loss(self, **kwargs: Any) -> LearnedLoss:
        """The loss as it stands, frozen; see `MetaLearner.to_loss`.

        It is the one that serves the model as far as it has come. `MetaLearner.learn` finds one
        for a whole training run, and tries it out.
        """
        return self.learner.at(ops.convert_to_numpy(self.coefficients)).to_loss(**kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean of the loss as it stands, and the losses of the layers."""
        _refuse(sample_weight)
        values = self.learner.values(ops.convert_to_tensor(self.coefficients), y, y_pred)
        return sum(self.losses, ops.mean(values))

    def make_train_function(self, force: bool = False) -> Any:
        """Compile the training step, if there is what it learns from."""
        # Raised in the step, it would leave a half traced one behind.
        if self.held_out is None:
            raise ValueError("`held_out` must be set before training. Received: held_out=None")
        return super().make_train_function(force)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the model, and where it is due one of the loss."""
        from keras_duo.models import _meta_step

        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _refuse(sample_weight)
        total, y_pred, seen = _meta_step.train(self, x, y)
        count = ops.shape(y)[0]
        next(m for m in self.metrics if m.name == "loss").update_state(total, sample_weight=count)
        known = ops.cast(ops.logical_not(ops.isnan(seen)), "float32")
        self._seen.update_state(ops.nan_to_num(seen), sample_weight=known)
        return self.compute_metrics(x, y, y_pred)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The loss and the metrics, without what only a training step sees."""
        logs = super().test_step(data)
        return {name: value for name, value in logs.items() if name != self._seen.name}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as before; the optimizer has its variables at once, for its state to load."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor but `held_out`."""
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "learner": self.learner.get_config(),
            "warmup": self.warmup,
            "unroll": self.unroll,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MetaModel":
        """Rebuild the model around one of Keras' own or of a registered class."""
        model, learner = model_from_config(config["model"]), config["learner"]
        return cls(**{**config, "model": model, "learner": MetaLearner.from_config(learner)})


class _Untracked:
    """What Keras must not take for a part of the model."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts


def _tensor(part: Any) -> Any:
    """Floats in the dtype of Keras, other numbers as they are."""
    array = np.asarray(part)
    return ops.convert_to_tensor(
        array.astype(keras.config.floatx()) if np.issubdtype(array.dtype, np.floating) else array
    )


def _refuse(sample_weight: Any) -> None:
    if sample_weight is not None:
        raise NotImplementedError("`sample_weight` must be None: a learned loss weighs by itself.")
