"""Metrics for what the losses and the models train, exact over batches of any size."""

from collections.abc import Iterator
from typing import Annotated, Any

import keras
import numpy as np
from keras import backend, ops

from keras_duo._products import exact_matmul
from keras_duo._register import register
from keras_duo._validate import integer, validated
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._logits import wide_float
from keras_duo.losses.quantile import Quantile, one_label_for_all

__all__ = ["FrechetDistance", "PinballLoss", "QuantileCoverage"]

# Examples in one call of a classifier.
_AT_ONCE = 1000
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


@register
class FrechetDistance(keras.metrics.Metric):
    """||m - n||^2 + tr(S + T - 2 (S T)^(1/2)) of means m, n and covariances S, T of two samples.

    The two samples are features of real and of generated examples: the squared Wasserstein distance
    between normal distributions of their means and covariances. 0 for equal ones; what is small
    depends on the features, so report the distance between two sets of real examples beside it.
    With few examples it is too large: compare figures from equal numbers only.

    Sums are float64 (float32 on JAX), and tr (S T)^(1/2) is the sum of the singular values of a
    product of factors of S and T, which loses no digits where S or T is singular.

    Args:
        classifier: A Keras model from examples to features, (batch, features): a classifier without
            its last layer. None: what is passed in are features. A metric with a classifier is used
            beside a model and not saved with it: the weights are no part of its config.
        name: Name of the metric.
        dtype: The dtype of the sums; None: the widest.

    `update_state(real, fake)` takes any number of each. NaN before there are two of both.

    Raises:
        ValueError: If `classifier` is no model, or the features are not (batch, features).

    Source:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017, arXiv:1706.08500; Dowson
        and Landau, 1982, doi:10.1016/0047-259X(82)90077-X.

    Example:
        >>> import keras_duo
        >>> metric = keras_duo.FrechetDistance()
        >>> metric.update_state([[0.0], [2.0]], [[3.0], [5.0]])
        >>> float(metric.result())
        9.0
    """

    def __init__(
        self,
        classifier: keras.Model | None = None,
        name: str | None = "frechet_distance",
        dtype: Any = None,
    ) -> None:
        if not (classifier is None or isinstance(classifier, keras.Model)):
            raise ValueError(
                f"`classifier` must be None or a keras.Model. Received: classifier={classifier!r}"
            )
        # JAX has no float64 unless it was started otherwise.
        widest = "float32" if backend.backend() == "jax" else "float64"
        super().__init__(name=name or "frechet_distance", dtype=dtype or widest)
        self.classifier = classifier
        self._sums: list = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in real examples `y_true` and generated examples `y_pred`."""
        if sample_weight is not None:
            raise ValueError("`sample_weight` must be left out: all examples count alike.")
        for kind, examples in enumerate((y_true, y_pred)):
            for features in self._features(examples):
                self._add(kind, features)

    def result(self) -> Any:
        """The distance between all examples seen so far."""
        if not self._sums:
            return ops.cast(float("nan"), self.dtype)
        sums = [ops.convert_to_tensor(total) for total in self._sums]
        (mean, factor), (other, other_factor) = (_moments(*sums[i : i + 3]) for i in (0, 3))
        cross = exact_matmul(ops.transpose(factor), other_factor)
        spread = ops.sum(ops.square(factor)) + ops.sum(ops.square(other_factor))
        shared = 2.0 * ops.sum(ops.svd(cross, compute_uv=False))
        return ops.sum(ops.square(mean - other)) + spread - shared

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor; an error where there is a classifier."""
        if self.classifier is not None:
            raise ValueError(
                "A FrechetDistance with a classifier cannot be saved, because the weights of the "
                "classifier are no part of a config. Make it anew."
            )
        return {**super().get_config(), "classifier": None}

    def _features(self, examples: Any) -> Iterator[Any]:
        examples = ops.convert_to_tensor(examples)
        count = examples.shape[0]
        # A thousand at a time: a classifier needs room for each of its layers.
        for start in range(0, count or 1, _AT_ONCE if count else 1):
            part = examples[start : start + _AT_ONCE] if count else examples
            features = part if self.classifier is None else self.classifier(part, training=False)
            if len(features.shape) != 2 or features.shape[-1] is None:
                raise ValueError(
                    "Features must have the shape (batch, features). "
                    f"Received: shape={tuple(features.shape)}"
                )
            yield ops.cast(features, self.dtype)

    def _add(self, kind: int, features: Any) -> None:
        size = features.shape[-1]
        if not self._sums:
            self._sums = [
                self.add_variable(shape, "zeros", dtype=self.dtype, name=f"{name}_{word}")
                for word in ("real", "fake")
                for name, shape in (("count", ()), ("sum", (size,)), ("products", (size, size)))
            ]
        if size != self._sums[1].shape[0]:
            raise ValueError(
                "Features must be as many as before. "
                f"Received: {size} features after {self._sums[1].shape[0]}"
            )
        count, total, products = self._sums[3 * kind : 3 * kind + 3]
        count.assign_add(ops.cast(ops.shape(features)[0], self.dtype))
        total.assign_add(ops.sum(features, axis=0))
        products.assign_add(exact_matmul(ops.transpose(features), features))


def _moments(count: Any, total: Any, products: Any) -> tuple[Any, Any]:
    """The mean, and a factor F of the covariance F F^T; NaN where there are less than two."""
    mean = total / count
    covariance = (products - ops.outer(total, mean)) / (count - 1.0)
    enough = ops.cast(ops.where(count > 1, 1.0, float("nan")), mean.dtype)
    values, vectors = ops.eigh(ops.where(count > 1, covariance, ops.zeros_like(covariance)))
    # What rounding leaves of an eigenvalue of 0 would enter by its root, which is far larger.
    rounding = float(np.finfo(backend.standardize_dtype(values.dtype)).eps) * values.shape[-1]
    values = ops.where(values > rounding * ops.max(values), values, ops.zeros_like(values))
    return mean, enough * vectors * ops.sqrt(values)


@validated
def _covered(y_true: Any, y_pred: Any, *, lower: Index = 0, upper: Index = -1) -> Any:
    """1 where the label lies between the two quantiles, and 0 elsewhere."""
    y_pred = wide_float(y_pred)
    y_true = ops.cast(ops.convert_to_tensor(y_true), y_pred.dtype)
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
    return ops.cast(inside, y_pred.dtype)


class _Covered(FunctionLoss, function=_covered):
    """Only what takes masks and weights into account: coverage has no gradient to train on."""
