"""MultiObjective: several losses on one output, weighted on the simplex."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_duo._gradients import DIFFERENTIABLE, gradients_of_each
from keras_duo._register import register
from keras_duo._serialize import loss_from_config, loss_to_config, reduced_by
from keras_duo._validate import integer
from keras_duo.losses._logits import wide_float
from keras_duo.weightings._gramian import gramian
from keras_duo.weightings._methods import METHODS
from keras_duo.weightings._random import hashed_draw

# Each is a method of `keras_duo.weightings`; those of gradients take them at the output.
WEIGHTINGS = {
    "fixed": "fixed",
    "random": "random",
    "inverse": "inverse",
    "balanced": "balanced",
    "min_norm": "mgda",
}

_CLASSES = {name.lower(): x for name, x in vars(keras.losses).items() if isinstance(x, type)}


@register
class MultiObjective(keras.losses.Loss):
    """L = sum_i w_i * L_i with w_i >= 0 and sum_i w_i = 1: several losses on one output.

    It replaces `compile(loss=[a, b])`, which on a model with one output trains `a` alone. Output
    activation: the one that all the parts share.

    Each part reduces as this loss does, and honours masks and `sample_weight` in its own way, so a
    loss for each pixel and one for each image go together under every reduction but "none".

    Args:
        losses: Keras losses, or names such as "mse" or "MeanSquaredError"; at least one.
        weights: With "fixed" weighting, one number >= 0 for each loss, not all 0; they are divided
            by their sum. None: equal weights.
        weighting: "fixed": the weights stay as given. Others are found anew for each batch, have no
            state, and are constants to the gradient. "random": softmax of normal numbers, which are
            a hash of the losses. "inverse": w_i proportional to 1 / L_i, for losses > 0; their
            scale does not matter. "balanced": the gradients of all w_i L_i by `y_pred` have one
            norm, with w_i = 0 for a gradient of 0. "min_norm": those that make the gradient by
            `y_pred` shortest (MGDA), so that a step along it makes no part worse.
        reduction: As in Keras, in place of the reductions of the parts.
        name: Name of the loss.
        dtype: The dtype of the sum; the parts compute in their own.

    Shapes: those that every part takes.

    Raises:
        ValueError: If an argument is none of the above, or `weights` are given for a weighting that
            finds its own; with reduction "none", if the parts give values of different shapes.

    Source:
        Scalarization of several objectives: Boyd and Vandenberghe, Convex Optimization, 2004,
        section 4.7.4. The weightings: `keras_duo.weightings`.

    Example:
        >>> import keras, keras_duo
        >>> loss = keras_duo.MultiObjective(["MeanSquaredError", keras.losses.Huber()], [3, 1])
        >>> loss.weights
        (0.75, 0.25)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", loss=loss, metrics=loss.metrics)
    """

    def __init__(
        self,
        losses: Sequence[keras.losses.Loss | str],
        weights: Sequence[float] | None = None,
        weighting: str = "fixed",
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name or "multi_objective", reduction=reduction, dtype=dtype)
        self.losses = _losses(losses)
        if weighting not in WEIGHTINGS:
            raise ValueError(
                f"`weighting` must be one of {list(WEIGHTINGS)}. Received: weighting={weighting!r}"
            )
        if weighting != "fixed" and weights is not None:
            raise ValueError(
                "`weights` must be None for a weighting that finds its own. "
                f"Received: weights={weights!r}, weighting={weighting!r}"
            )
        backend = keras.backend.backend()
        if METHODS[WEIGHTINGS[weighting]].by_gradient and backend not in DIFFERENTIABLE:
            raise NotImplementedError(
                f"`weighting={weighting!r}` needs the TensorFlow or the JAX backend. "
                f"Received: backend={backend!r}"
            )
        self.weights = _on_the_simplex(weights, len(self.losses)) if weighting == "fixed" else None
        self.weighting = weighting

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Metrics to be given to `compile(metrics=...)`.

        One for the unweighted mean of each part and, unless the weights are fixed, one for the
        weight of each part.
        """
        names = [loss.name for loss in self.losses]
        unique = [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]
        means = [LossMean(loss, name=name) for loss, name in zip(self.losses, unique, strict=True)]
        if self.weighting == "fixed":
            return means
        return means + [
            ObjectiveWeight(self, i, name=f"{name}_weight") for i, name in enumerate(unique)
        ]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The weighted sum of the parts, each given the same arguments."""
        with keras.name_scope(self.name):
            values = self._values(y_true, y_pred, sample_weight)
            shapes = {tuple(value.shape) for value in values}
            if len(shapes) > 1:
                raise ValueError(
                    "`reduction` must be other than 'none' where the losses give values of "
                    f"different shapes. Received: reduction={self.reduction!r}, shapes={shapes}"
                )
            weights = self.weights
            if weights is None:
                weights = ops.cast(self._found(values, y_true, y_pred, sample_weight), self._wide)
                weights = ops.unstack(weights, len(values))
            weighted = zip(weights, values, strict=True)
            return sum(weight * ops.cast(value, self._wide) for weight, value in weighted)

    def weights_for(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The weights in force for a batch, of sum 1: a tensor of one number for each part."""
        if self.weights is not None:
            return ops.convert_to_tensor(self.weights, dtype="float32")
        values = self._values(y_true, y_pred, sample_weight)
        return self._found(values, y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "losses": [loss_to_config(loss) for loss in self.losses],
            "weights": self.weights,
            "weighting": self.weighting,
            "dtype": self.dtype,
        }

    @property
    def _wide(self) -> str:
        return keras.backend.result_type(self.dtype, "float32")

    def _values(self, y_true: Any, y_pred: Any, sample_weight: Any) -> list[Any]:
        return [
            reduced_by(loss, self.reduction)(y_true, y_pred, sample_weight) for loss in self.losses
        ]

    def _found(self, values: list[Any], y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        losses = ops.stop_gradient(_scalars(values))
        method = METHODS[WEIGHTINGS[self.weighting]]
        available = {"losses": losses}
        if "draw" in method.takes:
            # JAX would run a generator in a loss with the same state at every step.
            available["draw"] = hashed_draw(_bits(losses), (len(values),))
        if "gramian" in method.takes:
            available["gramian"] = self._gramian(y_true, y_pred, sample_weight)
        return method(available, {})[0]

    def _gramian(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        """Products of the gradients of the parts with respect to `y_pred`."""

        def scalars(output: Any) -> list[Any]:
            if hasattr(y_pred, "_keras_mask"):  # what is masked has no gradient
                output._keras_mask = y_pred._keras_mask
            values = self._values(y_true, output, sample_weight)
            return [ops.mean(ops.cast(value, "float32")) for value in values]

        # A copy, which has no logits beside it: the parts are compared at the output itself.
        _, found = gradients_of_each(scalars, ops.stop_gradient(wide_float(y_pred) * 1.0))
        # Squares of large or tiny gradients would leave float32.
        largest = ops.max(ops.stack([ops.max(ops.abs(gradient)) for gradient in found]))
        unit = ops.where(largest > 0, largest, 1.0)
        return ops.stop_gradient(gramian([[gradient / unit] for gradient in found]))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultiObjective":
        """Rebuild the loss; the parts must be Keras' own or registered ones."""
        return cls(**{**config, "losses": [loss_from_config(part) for part in config["losses"]]})


@register
class LossMean(keras.metrics.Mean):
    """The mean of a loss over the batches seen, each weighted by its size, as a metric.

    That is how Keras logs `loss`. `MultiObjective.metrics` makes one for each of its parts, and the
    logged loss is then their weighted sum.

    Args:
        loss: A Keras loss.
        name: Name of the metric; None: that of the loss.
        dtype: The dtype of the sums.

    Example:
        >>> import keras, keras_duo
        >>> metric = keras_duo.LossMean(keras.losses.MeanSquaredError())
        >>> metric.update_state([[0.0], [0.0]], [[1.0], [3.0]])
        >>> float(metric.result())
        5.0
    """

    def __init__(self, loss: keras.losses.Loss, name: str | None = None, dtype: Any = None) -> None:
        (self.loss,) = _losses([loss])
        super().__init__(name=name or self.loss.name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in one batch."""
        value = reduced_by(self.loss, "sum_over_batch_size")(y_true, y_pred, sample_weight)
        super().update_state(value, sample_weight=ops.shape(y_pred)[0])

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {**super().get_config(), "loss": loss_to_config(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LossMean":
        """Rebuild the metric; its loss must be Keras' own or a registered one."""
        return cls(**{**config, "loss": loss_from_config(config["loss"])})


@register
class ObjectiveWeight(keras.metrics.Mean):
    """The weight of one part of a `MultiObjective`, mean over the batches seen, as a metric.

    `MultiObjective.metrics` makes one for each part. It finds the weights again, from the labels
    and outputs of the batch; `sample_weight` counts if it stands in `weighted_metrics`.

    Args:
        loss: A MultiObjective.
        index: Of the part.
        name: Name of the metric; None: "weight_<index>".
        dtype: The dtype of the sums.

    Raises:
        ValueError: If `loss` is no MultiObjective, or has no part of that index.

    Example:
        >>> import keras_duo
        >>> loss = keras_duo.MultiObjective(
        ...     ["MeanSquaredError", "MeanAbsoluteError"], weighting="inverse")
        >>> metric = keras_duo.ObjectiveWeight(loss, 0)
        >>> metric.update_state([[0.0], [0.0]], [[3.0], [3.0]])
        >>> round(float(metric.result()), 6)
        0.25
    """

    def __init__(
        self, loss: MultiObjective, index: int, name: str | None = None, dtype: Any = None
    ) -> None:
        if not isinstance(loss, MultiObjective):
            raise ValueError(f"`loss` must be a MultiObjective. Received: loss={loss!r}")
        self.index = integer(at_least=0)("index", index)
        if self.index >= len(loss.losses):
            raise ValueError(
                f"`index` must be below {len(loss.losses)}, the number of parts. "
                f"Received: index={index}"
            )
        self.loss = loss
        super().__init__(name=name or f"weight_{index}", dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in one batch."""
        weight = self.loss.weights_for(y_true, y_pred, sample_weight)[self.index]
        super().update_state(weight, sample_weight=ops.shape(y_pred)[0])

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        config = {"loss": loss_to_config(self.loss), "index": self.index}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ObjectiveWeight":
        """Rebuild the metric; its loss must be a MultiObjective."""
        return cls(**{**config, "loss": loss_from_config(config["loss"])})


def _scalars(values: list[Any]) -> Any:
    return ops.stack([ops.mean(ops.cast(value, "float32")) for value in values])


def _bits(losses: Any) -> Any:
    """The bits of float32 losses as one unsigned integer."""
    words = ops.view(losses, dtype="uint32")
    mixed = words[0]
    for i in range(1, losses.shape[0]):
        mixed = ops.bitwise_xor(mixed * ops.convert_to_tensor(31, "uint32"), words[i])
    return mixed


def _losses(given: Any) -> tuple[keras.losses.Loss, ...]:
    parts = list(given) if isinstance(given, list | tuple) else []
    found = tuple(_loss(part) for part in parts)
    if not found or None in found:
        raise ValueError(
            "`losses` must be a non-empty list of keras.losses.Loss instances, or of their names. "
            f"Received: losses={given!r}"
        )
    return found


def _loss(given: Any) -> keras.losses.Loss | None:
    if isinstance(given, str):
        try:
            given = keras.losses.get(given)
        except ValueError:
            return None
        # "mse" and its like are functions, each beside a class of the same name.
        given = _CLASSES.get(getattr(given, "__name__", "").replace("_", ""), lambda: given)()
    return given if isinstance(given, keras.losses.Loss) else None


def _on_the_simplex(weights: Any, count: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0 / count,) * count
    try:
        plain = [float(weight) for weight in weights]
    except (TypeError, ValueError):
        plain = []
    each_valid = all(math.isfinite(weight) and weight >= 0 for weight in plain)
    if len(plain) != count or not each_valid or not any(plain):
        raise ValueError(
            f"`weights` must be {count} finite numbers >= 0, one for each loss and not all 0. "
            f"Received: weights={weights!r}"
        )
    scaled = [weight / max(plain) for weight in plain]  # a sum of large weights could overflow
    return tuple(weight / math.fsum(scaled) for weight in scaled)
