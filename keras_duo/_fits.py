"""Activations and losses that fit, with claims about each: data, which the tests measure."""

import math
from dataclasses import dataclass, replace
from functools import partial

from keras import losses

from keras_duo.losses import (
    LSGAN,
    CategoricalFocal,
    CIoU,
    Dice,
    Focal,
    FocalTversky,
    GIoU,
    Quantile,
    SparseCategoricalFocal,
    Wasserstein,
)


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
    "exponential": Activation(Interval(0.0, math.inf)),
    "softplus": Activation(Interval(0.0, math.inf, closed=(True, False))),
}

_ONE_HOT = "one-hot"
_CLASS_IDS = "integer class ids from 0"

BINARY = Fit(
    activation="sigmoid",
    make_loss=partial(losses.BinaryCrossentropy),
    labels="0 or 1 for each unit",
    why="The gradient at the logit is probability minus label: it fades only as the answer gets "
    "right.",
    source="Goodfellow et al., Deep Learning, 2016, section 6.2.2",
    residual_gradient=True,
    finite_at_worst=True,
)
FOCAL = replace(
    BINARY,
    make_loss=partial(Focal, gamma=2.0),
    why="An example fades as it is learned, so that the many easy ones do not drown the rare "
    "class.",
    source="Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002",
    residual_gradient=False,
)
PUBLISHED_FOCAL = replace(FOCAL, make_loss=partial(Focal, gamma=2.0, alpha=0.25))
HINGE = Fit(
    activation="linear",
    make_loss=partial(losses.Hinge),
    labels="0 or 1, or else -1 or 1, for each unit",
    why="Only examples inside the margin or on its wrong side pull, with constant force. The "
    "output is a score, not a probability.",
    source="Cortes and Vapnik, Support-Vector Networks, 1995, doi:10.1007/BF00994018",
    residual_gradient=False,
    finite_at_worst=True,
)
BOUNDED_HINGE = replace(
    HINGE,
    activation="tanh",
    why="For a score that must stay between -1 and 1. Where tanh saturates no gradient is left, "
    "so a confident mistake is not corrected.",
    source="LeCun et al., Efficient BackProp, 1998, doi:10.1007/3-540-49430-8_2",
    finite_at_worst=False,
)
ONE_HOT_CLASSES = replace(
    BINARY,
    activation="softmax",
    make_loss=partial(losses.CategoricalCrossentropy),
    labels=_ONE_HOT,
)
SPARSE_CLASSES = replace(
    ONE_HOT_CLASSES,
    make_loss=partial(losses.SparseCategoricalCrossentropy),
    labels=_CLASS_IDS,
)
SOFT_CLASSES = replace(ONE_HOT_CLASSES, labels="probabilities of the classes that sum to 1")
DIVERGENCE = replace(
    SOFT_CLASSES,
    make_loss=partial(losses.KLDivergence),
    why="Cross-entropy less the entropy of the labels, so that a perfect answer scores 0. Keras "
    "clips the probabilities at 1e-7, and a mistake beyond that is not corrected.",
    source="Kullback and Leibler, On Information and Sufficiency, 1951, "
    "doi:10.1214/aoms/1177729694",
    finite_at_worst=False,
)
ONE_HOT_FOCAL = replace(
    FOCAL, activation="softmax", make_loss=partial(CategoricalFocal, gamma=2.0), labels=_ONE_HOT
)
SPARSE_FOCAL = replace(
    ONE_HOT_FOCAL, make_loss=partial(SparseCategoricalFocal, gamma=2.0), labels=_CLASS_IDS
)
SQUARED = Fit(
    activation="linear",
    make_loss=partial(losses.MeanSquaredError),
    labels="real numbers",
    why="Maximum likelihood under Gaussian noise of constant size: the best output is the mean "
    "of the labels.",
    source="Goodfellow et al., Deep Learning, 2016, section 6.2.2",
    residual_gradient=True,
    finite_at_worst=True,
)
HUBER = replace(
    SQUARED,
    make_loss=partial(losses.Huber, delta=1.0),
    why="An error beyond delta pulls with constant force, so that a few outliers do not decide "
    "the fit. Scale the labels so that ordinary errors stay below delta.",
    source="Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/1177703732",
    residual_gradient=False,
)
SHARE = replace(
    BINARY,
    labels="numbers from 0 to 1",
    why="The best output is the mean of the labels, as for squares, and the gradient at the logit "
    "is output minus label: it does not fade where the sigmoid saturates.",
    source="Papke and Wooldridge, Econometric Methods for Fractional Response Variables, 1996, "
    "Journal of Applied Econometrics 11",
)
SQUARED_SHARE = replace(
    SHARE,
    make_loss=partial(losses.MeanSquaredError),
    why="Errors near 0 and 1 count like those in the middle. Where the sigmoid saturates no "
    "gradient is left, so a confident mistake is not corrected.",
    source="LeCun et al., Efficient BackProp, 1998, doi:10.1007/3-540-49430-8_2",
    residual_gradient=False,
    finite_at_worst=False,
)
COUNT = Fit(
    activation="exponential",
    make_loss=partial(losses.Poisson),
    labels="whole numbers from 0",
    why="Maximum likelihood for counts, whose spread grows with their mean. The gradient at the "
    "logarithm of the rate is rate minus count.",
    source="McCullagh and Nelder, Generalized Linear Models, 1989, doi:10.1007/978-1-4899-3242-6",
    residual_gradient=True,
    finite_at_worst=False,
)
DAMPED_COUNT = replace(
    COUNT,
    activation="softplus",
    why="The same likelihood with a rate that grows linearly: a large input does not overflow, and "
    "inputs add to the rate where under the exponential they multiply it.",
    source="Dugas et al., Incorporating Second-Order Functional Knowledge, 2000, NeurIPS 13",
    residual_gradient=False,
)
MASK = replace(
    BINARY,
    make_loss=partial(Dice),
    labels="masks of 0 and 1",
    why="It measures the overlap that segmentation is judged by, so that the many pixels of the "
    "background do not drown a small object. A mask that is surely wrong has no gradient left.",
    source="Milletari et al., V-Net, 2016, arXiv:1606.04797",
    residual_gradient=False,
    finite_at_worst=False,
)
PIXELS = replace(BINARY, labels="masks of 0 and 1")
SMALL_MASK = replace(
    MASK,
    make_loss=partial(FocalTversky),
    why="What the prediction misses counts more than what it adds, and regions that are nearly "
    "learned stay in play.",
    source="Abraham and Khan, A Novel Focal Tversky Loss Function, 2018, arXiv:1810.07842",
)
CLASS_MASKS = replace(MASK, activation="softmax", labels="one-hot masks")
CLASS_PIXELS = replace(ONE_HOT_CLASSES, labels="one-hot masks")
ID_MASKS = replace(CLASS_MASKS, labels="integer class ids of the pixels")
ID_PIXELS = replace(SPARSE_CLASSES, labels="integer class ids of the pixels")
ALIGNMENT = replace(
    SQUARED,
    make_loss=partial(losses.CTC),
    labels="integer class ids from 1, padded with 0",
    why="It sums over all alignments of a short label with a long output, so that no step needs a "
    "label of its own. The first unit is the blank; the loss applies its own softmax.",
    source="Graves et al., Connectionist Temporal Classification, 2006, "
    "doi:10.1145/1143844.1143891",
    residual_gradient=False,
)

QUANTILE = replace(
    SQUARED,
    make_loss=partial(Quantile, quantiles=0.5),
    why="The best output is the quantile of the labels, not their mean. For several quantiles that "
    "must not cross, use QuantileHead in place of the linear layer.",
    source="Koenker and Bassett, Regression Quantiles, 1978, doi:10.2307/1913643",
    residual_gradient=False,
)
ABSOLUTE = replace(
    QUANTILE,
    make_loss=partial(losses.MeanAbsoluteError),
    why="The best output is the median of the labels: twice the loss of the quantile 0.5.",
)
CIOU = replace(
    SQUARED,
    make_loss=partial(CIoU),
    labels="boxes: left, top, right, bottom",
    why="It measures the overlap that detection is judged by, whatever the size of the box, and "
    "still pulls where the boxes do not meet: centres together, then shapes alike.",
    source="Zheng et al., Distance-IoU Loss, 2019, arXiv:1911.08287",
    residual_gradient=False,
)
GIOU = replace(
    CIOU,
    make_loss=partial(GIoU),
    why="It measures the overlap that detection is judged by, whatever the size of the box, and "
    "still pulls where the boxes do not meet, by the empty part of their hull.",
    source="Rezatofighi et al., Generalized Intersection over Union, 2019, arXiv:1902.09630",
)
LEAST_SQUARES_GAN = replace(
    SQUARED,
    make_loss=partial(LSGAN),
    labels="1 for real, 0 for fake",
    why="The gradient of the score grows with its distance from the target, so that fakes that are "
    "far from real ones still move.",
    source="Mao et al., Least Squares Generative Adversarial Networks, 2016, arXiv:1611.04076",
)
WASSERSTEIN = replace(
    LEAST_SQUARES_GAN,
    make_loss=partial(Wasserstein),
    why="The difference of the scores estimates a distance between real and fake that has a "
    "gradient everywhere. The critic must be kept Lipschitz, as by a gradient penalty.",
    source="Arjovsky et al., Wasserstein GAN, 2017, arXiv:1701.07875",
    residual_gradient=False,
)
