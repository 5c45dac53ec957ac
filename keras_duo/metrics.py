"""Metrics for what the losses train, exact over batches of any size."""

from typing import Annotated, Any

import keras
from keras import backend, ops

from keras_duo._register import register
from keras_duo._validate import integer, validated
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses.quantile import Quantile, one_label_for_all

__all__ = ["PinballLoss", "QuantileCoverage"]

Index = Annotated[int, integer()]


class _MeanOfValues(keras.metrics.Mean):
    """The mean of the values of a loss over all elements seen, each with its weight.

    Keras' own wrapper averages each example first, so that a long and a short sequence weigh the
    same, heeds a mask only beside a sample weight, and sums in half precision if told so.
    """

    def __init__(self, loss: FunctionLoss, name: str, dtype: Any) -> None:
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        super().__init__(name, backend.result_type(policy.compute_dtype, "float32"))
        self._loss = loss

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in one batch."""
        values, weights = self._loss.weighted(y_true, y_pred, sample_weight)
        flat = None if weights is None else ops.reshape(weights, (-1,))
        super().update_state(ops.reshape(values, (-1,)), sample_weight=flat)


@register
class PinballLoss(_MeanOfValues):
    """Mean pinball loss, the mean of `quantile_loss` over all elements seen.

    For a probabilistic forecast it is the figure to compare models by; for many evenly spread
    quantiles twice its value approximates the CRPS.

    Args:
        quantiles: tau: one number, or a list of them; strictly between 0 and 1. For a list
            `y_pred` has the shape (batch, ..., quantiles), as in `quantile_loss`.
        name: Name of the metric.
        dtype: The dtype of the sums, float32 or wider.

    Raises:
        ValueError: If `quantiles` is out of range, or the shapes do not fit.

    Source:
        Koenker and Bassett, Regression Quantiles, 1978, doi:10.2307/1913643.

    Example:
        >>> import keras_duo
        >>> metric = keras_duo.PinballLoss([0.5, 0.9])
        >>> metric.update_state([10.0], [[8.0, 11.0]])
        >>> float(metric.result())
        0.55...
    """

    def __init__(
        self, quantiles: Any = 0.5, name: str | None = "pinball_loss", dtype: Any = None
    ) -> None:
        super().__init__(
            Quantile(quantiles=quantiles, reduction="sum"), name or "pinball_loss", dtype
        )
        self.quantiles = self._loss.quantiles

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {**super().get_config(), "quantiles": self.quantiles}


@register
class QuantileCoverage(_MeanOfValues):
    """Share of labels that lie between two forecast quantiles, both ends included.

    For the quantiles 0.1 and 0.9 a calibrated model covers 0.8. Less is an interval too narrow,
    more is one too wide; where the ends cross, nothing is covered.

    Args:
        lower: Index of the lower end on the last axis of `y_pred`.
        upper: Index of the upper end; as in Python, -1 is the last one.
        name: Name of the metric.
        dtype: The dtype of the sums, float32 or wider.

    Raises:
        ValueError: If an index is not an integer or not on the axis, the two are not in order, or
            the shapes do not fit.

    Source:
        Gneiting et al., Probabilistic forecasts, calibration and sharpness, 2007,
        doi:10.1111/j.1467-9868.2007.00587.x.

    Example:
        >>> import keras_duo
        >>> metric = keras_duo.QuantileCoverage()
        >>> metric.update_state([3.0, 9.0], [[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
        >>> float(metric.result())
        0.5
    """

    def __init__(
        self,
        lower: int = 0,
        upper: int = -1,
        name: str | None = "quantile_coverage",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            _Covered(lower=lower, upper=upper, reduction="sum"), name or "quantile_coverage", dtype
        )
        self.lower, self.upper = self._loss.lower, self._loss.upper

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {**super().get_config(), "lower": self.lower, "upper": self.upper}


@validated
def _covered(y_true: Any, y_pred: Any, *, lower: Index = 0, upper: Index = -1) -> Any:
    """1 where the label lies between the two quantiles, and 0 elsewhere."""
    y_pred = ops.convert_to_tensor(y_pred)
    wide = backend.result_type(backend.standardize_dtype(y_pred.dtype), "float32")
    y_true, y_pred = ops.cast(ops.convert_to_tensor(y_true), wide), ops.cast(y_pred, wide)
    y_true, y_pred = one_label_for_all(y_true, y_pred)
    count = y_pred.shape[-1]
    for name, index in (("lower", lower), ("upper", upper)):
        if count is not None and not -count <= index < count:
            raise ValueError(
                f"`{name}` must be an index of the last axis of `y_pred`. "
                f"Received: {name}={index}, y_pred.shape={tuple(y_pred.shape)}"
            )
    if count is not None and lower % count >= upper % count:
        raise ValueError(
            "`lower` must come before `upper` on the last axis of `y_pred`. "
            f"Received: lower={lower}, upper={upper}, y_pred.shape={tuple(y_pred.shape)}"
        )
    label = y_true[..., 0]
    inside = ops.logical_and(y_pred[..., lower] <= label, label <= y_pred[..., upper])
    return ops.cast(inside, wide)


class _Covered(FunctionLoss, function=_covered):
    """Only what takes masks and weights into account: coverage has no gradient to train on."""
