"""The rows of the table of pairs, with claims about each: data, which the tests measure."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from keras import losses, metrics

from keras_duo.losses import (
    LSGAN,
    CategoricalFocal,
    CIoU,
    Focal,
    GIoU,
    Quantile,
    SparseCategoricalFocal,
    Wasserstein,
)
from keras_duo.metrics import PinballLoss


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`; `closed` tells of each end whether it belongs to them.

    Example:
        >>> from keras_duo.pairs import Interval
        >>> str(Interval(0.0, 1.0)), 1.0 in Interval(0.0, 1.0, closed=(True, False))
        ('[0, 1]', False)
    """

    low: float
    high: float
    closed: tuple[bool, bool] = (True, True)

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.closed[0] else value > self.low
        below = value <= self.high if self.closed[1] else value < self.high
        return bool(above and below)

    def __str__(self) -> str:
        opening, closing = "(["[self.closed[0]], ")]"[self.closed[1]]
        return f"{opening}{self.low:g}, {self.high:g}{closing}"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What is true of an activation and a loss whatever the task."""

    activation: str
    make_loss: partial
    labels: str
    why: str
    source: str
    residual_gradient: bool
    finite_at_worst: bool


class Row(NamedTuple):
    """One row: for this task and data, this fit, watched by these metrics."""

    task: str
    data: str
    fit: Fit
    metrics: tuple[Callable[..., metrics.Metric], ...]


@dataclass(frozen=True)
class Activation:
    """What an output activation can give, and how many units it needs."""

    output_range: Interval
    least_units: int = 1
    reason: str = ""


ACTIVATIONS = {
    "linear": Activation(Interval(-math.inf, math.inf, closed=(False, False))),
    "sigmoid": Activation(Interval(0.0, 1.0)),
    "softmax": Activation(
        Interval(0.0, 1.0),
        least_units=2,
        reason=": softmax over one unit is always 1, one unit for two classes is task='binary'",
    ),
    "tanh": Activation(Interval(-1.0, 1.0)),
}

_ONE_HOT = "one-hot"
_CLASS_IDS = "integer class ids from 0"

_BINARY = Fit(
    activation="sigmoid",
    make_loss=partial(losses.BinaryCrossentropy),
    labels="0 or 1 for each unit",
    why="The gradient at the logit is probability minus label: it fades only as the answer gets "
    "right.",
    source="Goodfellow et al., Deep Learning, 2016, section 6.2.2",
    residual_gradient=True,
    finite_at_worst=True,
)
_FOCAL = replace(
    _BINARY,
    make_loss=partial(Focal, gamma=2.0),
    why="An example fades as it is learned, so that the many easy ones do not drown the rare "
    "class.",
    source="Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002",
    residual_gradient=False,
)
_PUBLISHED_FOCAL = replace(_FOCAL, make_loss=partial(Focal, gamma=2.0, alpha=0.25))
_HINGE = Fit(
    activation="linear",
    make_loss=partial(losses.Hinge),
    labels="0 or 1, or else -1 or 1, for each unit",
    why="Only examples inside the margin or on its wrong side pull, with constant force. The "
    "output is a score, not a probability.",
    source="Cortes and Vapnik, Support-Vector Networks, 1995, doi:10.1007/BF00994018",
    residual_gradient=False,
    finite_at_worst=True,
)
_BOUNDED_HINGE = replace(
    _HINGE,
    activation="tanh",
    why="For a score that must stay between -1 and 1. Where tanh saturates no gradient is left, "
    "so a confident mistake is not corrected.",
    source="LeCun et al., Efficient BackProp, 1998, doi:10.1007/3-540-49430-8_2",
    finite_at_worst=False,
)
_ONE_HOT_CLASSES = replace(
    _BINARY,
    activation="softmax",
    make_loss=partial(losses.CategoricalCrossentropy),
    labels=_ONE_HOT,
)
_SPARSE_CLASSES = replace(
    _ONE_HOT_CLASSES,
    make_loss=partial(losses.SparseCategoricalCrossentropy),
    labels=_CLASS_IDS,
)
_SOFT_CLASSES = replace(_ONE_HOT_CLASSES, labels="probabilities of the classes that sum to 1")
_DIVERGENCE = replace(
    _SOFT_CLASSES,
    make_loss=partial(losses.KLDivergence),
    why="Cross-entropy less the entropy of the labels, so that a perfect answer scores 0. Keras "
    "clips the probabilities at 1e-7, and a mistake beyond that is not corrected.",
    source="Kullback and Leibler, On Information and Sufficiency, 1951, "
    "doi:10.1214/aoms/1177729694",
    finite_at_worst=False,
)
_ONE_HOT_FOCAL = replace(
    _FOCAL, activation="softmax", make_loss=partial(CategoricalFocal, gamma=2.0), labels=_ONE_HOT
)
_SPARSE_FOCAL = replace(
    _ONE_HOT_FOCAL, make_loss=partial(SparseCategoricalFocal, gamma=2.0), labels=_CLASS_IDS
)
_SQUARED = Fit(
    activation="linear",
    make_loss=partial(losses.MeanSquaredError),
    labels="real numbers",
    why="Maximum likelihood under Gaussian noise of constant size: the best output is the mean "
    "of the labels.",
    source="Goodfellow et al., Deep Learning, 2016, section 6.2.2",
    residual_gradient=True,
    finite_at_worst=True,
)
_HUBER = replace(
    _SQUARED,
    make_loss=partial(losses.Huber, delta=1.0),
    why="An error beyond delta pulls with constant force, so that a few outliers do not decide "
    "the fit. Scale the labels so that ordinary errors stay below delta.",
    source="Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/1177703732",
    residual_gradient=False,
)

_QUANTILE = replace(
    _SQUARED,
    make_loss=partial(Quantile, quantiles=0.5),
    why="The best output is the quantile of the labels, not their mean. For several quantiles that "
    "must not cross, use QuantileHead in place of the linear layer.",
    source="Koenker and Bassett, Regression Quantiles, 1978, doi:10.2307/1913643",
    residual_gradient=False,
)
_ABSOLUTE = replace(
    _QUANTILE,
    make_loss=partial(losses.MeanAbsoluteError),
    why="The best output is the median of the labels: twice the loss of the quantile 0.5.",
)
_CIOU = replace(
    _SQUARED,
    make_loss=partial(CIoU),
    labels="boxes: left, top, right, bottom",
    why="It measures the overlap that detection is judged by, whatever the size of the box, and "
    "still pulls where the boxes do not meet: centres together, then shapes alike.",
    source="Zheng et al., Distance-IoU Loss, 2019, arXiv:1911.08287",
    residual_gradient=False,
)
_GIOU = replace(
    _CIOU,
    make_loss=partial(GIoU),
    why="It measures the overlap that detection is judged by, whatever the size of the box, and "
    "still pulls where the boxes do not meet, by the empty part of their hull.",
    source="Rezatofighi et al., Generalized Intersection over Union, 2019, arXiv:1902.09630",
)
_LSGAN = replace(
    _SQUARED,
    make_loss=partial(LSGAN),
    labels="1 for real, 0 for fake",
    why="The gradient of the score grows with its distance from the target, so that fakes that are "
    "far from real ones still move.",
    source="Mao et al., Least Squares Generative Adversarial Networks, 2016, arXiv:1611.04076",
)
_WASSERSTEIN = replace(
    _LSGAN,
    make_loss=partial(Wasserstein),
    why="The difference of the scores estimates a distance between real and fake that has a "
    "gradient everywhere. The critic must be kept Lipschitz, as by a gradient penalty.",
    source="Arjovsky et al., Wasserstein GAN, 2017, arXiv:1701.07875",
    residual_gradient=False,
)

_ACCURACY = partial(metrics.BinaryAccuracy, threshold=0.5)
_ROC = partial(metrics.AUC, name="roc_auc")
_PR = partial(metrics.AUC, curve="PR", name="pr_auc")
# Keras compares its binary accuracy with labels 0 and 1 alone; Hinge is right for both codings.
_MARGIN = metrics.Hinge
_ONE_HOT_ACCURACY = metrics.CategoricalAccuracy
_SPARSE_ACCURACY = metrics.SparseCategoricalAccuracy
_MACRO_F1 = partial(metrics.F1Score, average="macro")
_MAE, _RMSE = metrics.MeanAbsoluteError, metrics.RootMeanSquaredError

# The first row of a task is its default; the first of a task and data is the recommended pair.
ROWS = (
    Row(
        "binary",
        "balanced",
        _BINARY,
        (
            _ACCURACY,
            _ROC,
        ),
    ),
    Row("binary", "balanced", _HINGE, (_MARGIN,)),
    Row("binary", "balanced", _BOUNDED_HINGE, (_MARGIN,)),
    Row("binary", "imbalanced", _FOCAL, (_PR,)),
    Row("binary", "imbalanced", _BINARY, (_PR,)),
    Row("single-label", "one-hot", _ONE_HOT_CLASSES, (_ONE_HOT_ACCURACY,)),
    Row("single-label", "one-hot", _ONE_HOT_FOCAL, (_ONE_HOT_ACCURACY,)),
    Row("single-label", "one-hot", _DIVERGENCE, (_ONE_HOT_ACCURACY, metrics.KLDivergence)),
    Row("single-label", "sparse", _SPARSE_CLASSES, (_SPARSE_ACCURACY,)),
    Row("single-label", "sparse", _SPARSE_FOCAL, (_SPARSE_ACCURACY,)),
    Row(
        "single-label",
        "soft",
        _SOFT_CLASSES,
        (
            _ONE_HOT_ACCURACY,
            metrics.KLDivergence,
        ),
    ),
    Row(
        "single-label",
        "soft",
        _DIVERGENCE,
        (
            _ONE_HOT_ACCURACY,
            metrics.KLDivergence,
        ),
    ),
    Row("single-label", "imbalanced", _ONE_HOT_FOCAL, (_MACRO_F1,)),
    Row("single-label", "imbalanced", _ONE_HOT_CLASSES, (_MACRO_F1,)),
    Row("single-label", "imbalanced-sparse", _SPARSE_FOCAL, (_SPARSE_ACCURACY,)),
    Row("single-label", "imbalanced-sparse", _SPARSE_CLASSES, (_SPARSE_ACCURACY,)),
    Row(
        "multi-label",
        "balanced",
        _BINARY,
        (
            _ACCURACY,
            _ROC,
        ),
    ),
    Row("multi-label", "balanced", _FOCAL, (_PR,)),
    Row("multi-label", "imbalanced", _FOCAL, (_PR,)),
    Row("multi-label", "imbalanced", _BINARY, (_PR,)),
    Row(
        "regression",
        "gaussian",
        _SQUARED,
        (
            _MAE,
            _RMSE,
        ),
    ),
    Row("regression", "gaussian", _HUBER, (_MAE,)),
    Row("regression", "outliers", _HUBER, (_MAE,)),
    Row(
        "regression",
        "outliers",
        _SQUARED,
        (
            _MAE,
            _RMSE,
        ),
    ),
    Row("detection", "classes", _PUBLISHED_FOCAL, (_PR,)),
    Row("detection", "classes", _ONE_HOT_FOCAL, (_PR,)),
    Row("detection", "boxes", _CIOU, (_MAE,)),
    Row("detection", "boxes", _GIOU, (_MAE,)),
    Row("quantile", "any", _QUANTILE, (partial(PinballLoss, quantiles=0.5),)),
    Row("quantile", "any", _ABSOLUTE, (_MAE,)),
    Row("generation", "any", _LSGAN, (_ACCURACY,)),
    Row("generation", "any", _WASSERSTEIN, (_ACCURACY,)),
)
# Keys are without separators, as `pairs` compares them.
TASK_ALIASES = {
    "multiclass": "single-label",
    "objectdetection": "detection",
    "quantileforecast": "quantile",
}
DATA_ALIASES = {"integer": "sparse"}
