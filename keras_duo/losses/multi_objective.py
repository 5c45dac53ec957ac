"""MultiObjective: several losses on one output, weighted on the simplex."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_duo._register import register
from keras_duo._serialize import loss_from_config, loss_to_config, reduced_by

WEIGHTINGS = ("fixed",)


@register
class MultiObjective(keras.losses.Loss):
    """L = sum_i w_i * L_i with w_i >= 0 and sum_i w_i = 1: several losses on one output.

    It replaces `compile(loss=[a, b])`, which on a model with one output trains `a` alone. Output
    activation: the one that all the parts share.

    Each part reduces as this loss does, and honours masks and `sample_weight` in its own way, so a
    loss for each pixel and one for each image go together under every reduction but "none".

    Args:
        losses: Keras losses, or names of their classes such as "MeanSquaredError"; at least one.
        weights: One number >= 0 for each loss, not all 0; they are divided by their sum. None:
            equal weights.
        weighting: "fixed": the weights stay as given.
        reduction: As in Keras, in place of the reductions of the parts.
        name: Name of the loss.
        dtype: The dtype of the sum; the parts compute in their own.

    Shapes: those that every part takes.

    Raises:
        ValueError: If an argument is none of the above; with reduction "none", if the parts give
            values of different shapes.

    Source:
        Scalarization of several objectives: Boyd and Vandenberghe, Convex Optimization, 2004,
        section 4.7.4.

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
        self.weights = _on_the_simplex(weights, len(self.losses))
        if weighting not in WEIGHTINGS:
            raise ValueError(
                f"`weighting` must be one of {WEIGHTINGS}. Received: weighting={weighting!r}"
            )
        self.weighting = weighting

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """One metric for each part, its unweighted mean, to be given to `compile(metrics=...)`."""
        names = [loss.name for loss in self.losses]
        unique = [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]
        return [LossMean(loss, name=name) for loss, name in zip(self.losses, unique, strict=True)]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The weighted sum of the parts, each given the same arguments."""
        with keras.name_scope(self.name):
            values = [
                reduced_by(loss, self.reduction)(y_true, y_pred, sample_weight)
                for loss in self.losses
            ]
            shapes = {tuple(value.shape) for value in values}
            if len(shapes) > 1:
                raise ValueError(
                    "`reduction` must be other than 'none' where the losses give values of "
                    f"different shapes. Received: reduction={self.reduction!r}, shapes={shapes}"
                )
            dtype = keras.backend.result_type(self.dtype, "float32")
            weighted = zip(self.weights, values, strict=True)
            return sum(weight * ops.cast(value, dtype) for weight, value in weighted)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "losses": [loss_to_config(loss) for loss in self.losses],
            "weights": self.weights,
            "weighting": self.weighting,
            "dtype": self.dtype,
        }

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


def _losses(given: Any) -> tuple[keras.losses.Loss, ...]:
    parts = list(given) if isinstance(given, list | tuple) else []
    found = tuple(_loss(part) for part in parts)
    if not found or None in found:
        raise ValueError(
            "`losses` must be a non-empty list of keras.losses.Loss instances, or of names of such "
            f"classes. Received: losses={given!r}"
        )
    return found


def _loss(given: Any) -> keras.losses.Loss | None:
    if isinstance(given, str):
        try:
            given = keras.losses.get(given)
        except ValueError:
            return None
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
