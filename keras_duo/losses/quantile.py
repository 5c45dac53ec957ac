"""Quantile regression: the loss whose minimiser is a quantile of the label, not its mean."""

from typing import Annotated, Any

from keras import ops

from keras_duo._register import register
from keras_duo._validate import (
    Rule,
    aligned,
    aligned_labels,
    number,
    number_or_sequence,
    validated,
)
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._fused import mean_over
from keras_duo.losses._logits import wide_float

Quantiles = Annotated[
    float | tuple[float, ...],
    Rule("lie strictly between 0 and 1", number_or_sequence(above=0, below=1).convert),
]
Width = Annotated[float, number(at_least=0)]

# A narrower smooth part is lost between the float32 numbers next to 0, and its inverse overflows.
_NARROWEST = 1e-30


@validated
def quantile_loss(
    y_true: Any,
    y_pred: Any,
    *,
    quantiles: Quantiles = 0.5,
    smoothing: Width = 0.0,
) -> Any:
    """Pinball loss, max(tau * u, (tau - 1) * u) with u = y_true - y_pred; mean over the last axis.

    Its minimiser is the quantile tau of `y_true`: a forecast that the label exceeds with
    probability 1 - tau. For tau = 0.5 it is half the absolute error. Over many evenly spread
    quantiles, twice the loss approximates the continuous ranked probability score (CRPS).

    With `smoothing` = s > 0 the kink at u = 0 is rounded off, s * softplus(-|u| / s) is added: the
    slope then runs through it as a sigmoid of width s. The minimiser is the same quantile of the
    label after logistic noise of scale s, so that it is off by a term in s^2, where the quantile
    Huber loss is pulled towards the median by a term in s.

    Args:
        y_true: Numbers. For one quantile, shape of `y_pred`. For a list, one label for all of its
            quantiles: shape of `y_pred` without the last axis, or with a 1 in its place.
        y_pred: Forecasts. For a list (batch, ..., quantiles), in the order of `quantiles`.
        quantiles: tau: one number, or a list of them; strictly between 0 and 1.
        smoothing: s, in the units of the label; >= 0.

    Returns:
        float32 or wider, shape of `y_pred` without the last axis. Where u = 0 the gradient is 0,
        or, if smoothed, that of the sigmoid.

    Raises:
        ValueError: If an argument is out of range, or the shapes do not fit: a label is never
            broadcast against another example, nor against another target.

    Source:
        Koenker and Bassett, Regression Quantiles, 1978, doi:10.2307/1913643. Smoothing: Zheng,
        Gradient descent algorithms for quantile regression with smooth approximation, 2011,
        doi:10.1007/s13042-011-0031-2.

    Example:
        >>> from keras_duo.losses import quantile_loss
        >>> float(quantile_loss([10.0], [[8.0, 11.0]], quantiles=[0.5, 0.9])[0])
        0.55...
    """
    y_pred = wide_float(y_pred)
    y_true = ops.cast(ops.convert_to_tensor(y_true), y_pred.dtype)
    if isinstance(quantiles, float):
        y_true, y_pred = aligned(y_true, y_pred)
    else:
        y_true, y_pred = one_label_for_all(y_true, y_pred, len(quantiles))
    tau = ops.convert_to_tensor(quantiles, dtype=y_pred.dtype)
    return mean_over(_pinball(y_true - y_pred, tau, smoothing), axis=-1)


@register
class Quantile(FunctionLoss, function=quantile_loss):
    """Quantile regression for intervals, safety stocks and forecasts; output activation: linear.

    One quantile, or several from `QuantileHead`, whose outputs never cross:

        model.add(keras_duo.QuantileHead([0.1, 0.5, 0.9]))
        model.compile("adam", loss=keras_duo.Quantile([0.1, 0.5, 0.9]))
    """


def one_label_for_all(y_true: Any, y_pred: Any, count: int | None = None) -> tuple[Any, Any]:
    """Labels with a last axis of 1, and predictions with a last axis of `count` (None: any)."""
    shape = tuple(y_pred.shape)
    if len(shape) < 2 or (count is not None and shape[-1] not in (None, count)):
        raise ValueError(
            "`y_pred` must have the shape (batch, ..., quantiles), with one output for each of the "
            f"{count or ''} quantiles. Received: y_pred.shape={shape}".replace("  ", " ")
        )
    y_true = aligned_labels(
        y_true, y_pred, len(shape) - 1, "number", "the last axis of `y_pred` is that of quantiles"
    )
    if shape[-1] is None and count is not None:
        # A reshape fails when the step runs, where one output would be broadcast to all quantiles.
        y_pred = ops.reshape(y_pred, (*ops.shape(y_pred)[:-1], count))
    return ops.expand_dims(y_true, -1), y_pred


def _pinball(error: Any, tau: Any, smoothing: float) -> Any:
    above = error > 0
    if smoothing < _NARROWEST:
        # A slope of 0 at 0 on every backend, and NaN stays NaN.
        return ops.where(above, tau, ops.where(error < 0, tau - 1.0, 0.0)) * error
    size = ops.where(above, error, -error)  # its slope at 0 is that of the branch taken below
    tail = smoothing * ops.softplus(-size / smoothing)
    return ops.where(above, tau * error, (tau - 1.0) * error) + tail
