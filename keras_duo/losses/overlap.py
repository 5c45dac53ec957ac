"""Overlap losses for segmentation: one value an example, from what a mask hits, adds and misses.

Per class, over all pixels of one example,

    hit = sum(y * p),   added = sum((1 - y) * p),   missed = sum(y * (1 - p)).

The losses are ratios of sums of these. None is negative and nothing is subtracted, so that a nearly
perfect mask keeps its digits.
"""

import math
from typing import Annotated, Any

from keras import ops

from keras_duo._register import register
from keras_duo._validate import (
    Rule,
    aligned,
    aligned_labels,
    integer,
    known_axis,
    number,
    optional,
    validated,
)
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._fused import sum_over_pixels
from keras_duo.losses._logits import binary_logits, categorical_logits, wide_float


def _logits_of(value: Any) -> bool | str:
    if not isinstance(value, bool) and value not in ("sigmoid", "softmax"):
        raise ValueError
    return value


Weight = Annotated[float, number(at_least=0)]
Exponent = Annotated[float, number(above=0)]
FromLogits = Annotated[bool | str, Rule("be False, True, 'sigmoid' or 'softmax'", _logits_of)]
Label = Annotated[int | None, optional(integer())]
ClassAxis = Annotated[int | None, optional(integer())]

# Below it a root has a slope too steep to train on, and is replaced by its chord.
_SMALLEST = 1e-6


@validated
def tversky_loss(
    y_true: Any,
    y_pred: Any,
    *,
    alpha: Weight = 0.5,
    beta: Weight = 0.5,
    smooth: Weight = 1.0,
    from_logits: FromLogits = False,
    ignore_class: Label = None,
    axis: ClassAxis = -1,
) -> Any:
    """1 - (hit + smooth) / (hit + alpha * added + beta * missed + smooth), averaged over classes.

    It lies in [0, 1]. alpha weighs false positives and beta false negatives, as in the paper: beta
    above alpha finds more of a rare class. alpha = beta = 1/2 is the Dice loss, alpha = beta = 1
    the Jaccard loss. An empty mask that is predicted to be empty scores 0.

    Args:
        y_true: Masks in [0, 1] of the shape of `y_pred`, or class ids: shape of `y_pred` without
            `axis`, or with a 1 in its place. An unknown id gives NaN.
        y_pred: Probabilities or logits, (batch, ..., classes) with at least one axis of pixels.
        alpha: Weight of what the prediction adds; >= 0.
        beta: Weight of what it misses; >= 0.
        smooth: Number of pixels counted as hit beforehand, >= 0. It keeps a gradient where the mask
            is empty, and plays down objects that are not larger.
        from_logits: Whether `y_pred` holds logits: "sigmoid" for masks that may overlap, "softmax"
            for exclusive classes. True means "sigmoid", and only where there is one class.
        ignore_class: A label, class id or value of a mask, whose pixels count in no sum. In the
            classes an example without any other pixel does not count in a mean either.
        axis: The axis of the classes, or None: all axes but the batch are pixels of one region.

    Returns:
        One value an example: float32 or wider, shape (batch,).

    Raises:
        ValueError: If an argument is out of range, the shapes do not fit, there is no axis of
            pixels, or `from_logits=True` leaves open what the logits of several classes mean.

    Source:
        Salehi et al., Tversky loss function for image segmentation, 2017, arXiv:1706.05721.

    Example:
        >>> from keras_duo.losses import tversky_loss
        >>> mask, prediction = [[[1], [1], [0]]], [[[1.0], [0.0], [0.0]]]
        >>> float(tversky_loss(mask, prediction, alpha=0.3, beta=0.7, smooth=0.0)[0])
        0.41...
    """
    wrong = _wrong_share(y_true, y_pred, alpha, beta, smooth, from_logits, ignore_class, axis)
    return ops.mean(wrong, axis=-1)


@validated
def dice_loss(
    y_true: Any,
    y_pred: Any,
    *,
    smooth: Weight = 1.0,
    from_logits: FromLogits = False,
    ignore_class: Label = None,
    axis: ClassAxis = -1,
) -> Any:
    """1 - (2 hit + 2 smooth) / (2 hit + added + missed + 2 smooth), averaged over classes.

    It is 1 - F1 of the pixels, for probabilities in place of decisions, and lies in [0, 1]. Common
    classes and rare ones weigh the same.

    Args:
        y_true: Masks or class ids; see `tversky_loss`.
        y_pred: Probabilities or logits, (batch, ..., classes) with at least one axis of pixels.
        smooth: Number of pixels counted as hit beforehand, >= 0.
        from_logits: False, "sigmoid", "softmax", or True for one class; see `tversky_loss`.
        ignore_class: A label whose pixels count in no sum.
        axis: The axis of the classes, or None: all axes but the batch are pixels of one region.

    Returns:
        One value an example: float32 or wider, shape (batch,).

    Raises:
        ValueError: As `tversky_loss`.

    Source:
        Milletari et al., V-Net, 2016, arXiv:1606.04797, without the squares in its denominator.

    Example:
        >>> from keras_duo.losses import dice_loss
        >>> float(dice_loss([[[1], [1], [0]]], [[[1.0], [0.0], [0.0]]], smooth=0.0)[0])
        0.33...
    """
    wrong = _wrong_share(y_true, y_pred, 0.5, 0.5, smooth, from_logits, ignore_class, axis)
    return ops.mean(wrong, axis=-1)


@validated
def focal_tversky_loss(
    y_true: Any,
    y_pred: Any,
    *,
    gamma: Exponent = 4 / 3,
    alpha: Weight = 0.3,
    beta: Weight = 0.7,
    smooth: Weight = 1.0,
    from_logits: FromLogits = False,
    ignore_class: Label = None,
    axis: ClassAxis = -1,
) -> Any:
    """T^(1 / gamma), T the Tversky loss of one class, averaged over classes; in [0, 1].

    gamma > 1 raises what is nearly learned above what is not: it keeps small regions in play.
    gamma < 1 does the opposite. Below T = 1e-6 the root goes to 0 in a straight line, since its own
    slope has no end there. alpha and beta are those of `tversky_loss`; the paper names them the
    other way round.

    Args:
        y_true: Masks or class ids; see `tversky_loss`.
        y_pred: Probabilities or logits, (batch, ..., classes) with at least one axis of pixels.
        gamma: The root that is taken, > 0; the paper uses 1 to 3.
        alpha: Weight of what the prediction adds; >= 0.
        beta: Weight of what it misses; >= 0.
        smooth: Number of pixels counted as hit beforehand, >= 0.
        from_logits: False, "sigmoid", "softmax", or True for one class; see `tversky_loss`.
        ignore_class: A label whose pixels count in no sum.
        axis: The axis of the classes, or None: all axes but the batch are pixels of one region.

    Returns:
        One value an example: float32 or wider, shape (batch,).

    Raises:
        ValueError: As `tversky_loss`.

    Source:
        Abraham and Khan, A Novel Focal Tversky Loss Function, 2018, arXiv:1810.07842.

    Example:
        >>> from keras_duo.losses import focal_tversky_loss
        >>> mask, prediction = [[[1], [1], [0]]], [[[1.0], [0.0], [0.0]]]
        >>> float(focal_tversky_loss(mask, prediction, smooth=0.0)[0])
        0.51...
    """
    wrong = _wrong_share(y_true, y_pred, alpha, beta, smooth, from_logits, ignore_class, axis)
    steep = wrong < _SMALLEST
    root = ops.power(ops.where(steep, 1.0, wrong), 1.0 / gamma)
    chord = wrong * _SMALLEST ** (1.0 / gamma - 1.0)
    return ops.mean(ops.where(steep, chord, root), axis=-1)


class _RegionLoss(FunctionLoss):
    """A loss whose values are (batch,), whatever the rank of the output."""

    def valid(self, y_true: Any, y_pred: Any) -> Any:
        """Every example with at least one pixel that is not `ignore_class`."""
        if self.ignore_class is None or len(y_true.shape) == 0:
            return None
        counted = _counted(y_true, self.ignore_class)
        return ops.any(ops.reshape(counted, (ops.shape(y_true)[0], -1)), axis=-1)

    def _mask(self, output: Any, y_pred: Any) -> Any:
        mask = getattr(y_pred, "_keras_mask", None)
        if mask is not None and len(mask.shape) > 1:
            raise ValueError(
                "The mask of `y_pred` must have the shape (batch,) of the loss values. Leave out "
                "single pixels by `ignore_class`. "
                f"Received: y_pred.shape={tuple(y_pred.shape)}, mask.shape={tuple(mask.shape)}"
            )
        return super()._mask(output, y_pred)

    def _axis(self, output: Any) -> int:
        return -1

    def _ones(self, output: Any) -> Any:
        if len(output.shape) < 2:
            return ops.ones_like(output)
        return ops.ones_like(ops.reshape(output, (ops.shape(output)[0], -1))[:, 0])


@register
class Tversky(_RegionLoss, function=tversky_loss):
    """Segmentation with unequal costs of too much and too little.

    Output activation: sigmoid for masks that may overlap, softmax for exclusive classes.

        model.add(keras.layers.Conv2D(1, 1, activation="sigmoid"))
        model.compile("adam", loss=keras_duo.Tversky(alpha=0.3, beta=0.7))
    """


@register
class Dice(_RegionLoss, function=dice_loss):
    """Segmentation of classes of unequal size.

    Output activation: sigmoid for masks that may overlap, softmax for exclusive classes.

        model.add(keras.layers.Conv2D(5, 1, activation="softmax"))
        model.compile("adam", loss=keras_duo.Dice(ignore_class=255))
    """


@register
class FocalTversky(_RegionLoss, function=focal_tversky_loss):
    """Segmentation of small regions.

    Output activation: sigmoid for masks that may overlap, softmax for exclusive classes.

        model.add(keras.layers.Conv2D(1, 1, activation="sigmoid"))
        model.compile("adam", loss=keras_duo.FocalTversky())
    """


def _wrong_share(
    y_true: Any,
    y_pred: Any,
    alpha: float,
    beta: float,
    smooth: float,
    from_logits: bool | str,
    ignore_class: int | None,
    axis: int | None,
) -> Any:
    """W / (hit + W + smooth) with W = alpha * added + beta * missed, shape (batch, classes)."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    shape = tuple(y_pred.shape)
    enough = len(shape) >= (2 if axis is None else 3)
    if enough and axis is not None:
        axis = known_axis(axis, len(shape))
    if not enough or axis == 0:
        raise ValueError(
            "`y_pred` must have the shape (batch, ..., classes), with at least one axis of pixels; "
            "for masks without an axis of classes set `axis=None`. "
            f"Received: y_pred.shape={shape}, axis={axis}"
        )
    on, off = _probabilities(y_pred, from_logits, axis)
    label, counted = _masks(y_true, on, ignore_class, axis)
    if ignore_class is not None:
        on, off, label = (ops.where(counted, tensor, 0.0) for tensor in (on, off, label))
    pixels = [i for i in range(1, len(shape)) if i != axis]
    hit = sum_over_pixels(label * on, pixels)
    added, missed = (1.0 - label) * on, label * off
    wrong = sum_over_pixels(alpha * added + beta * missed, pixels)
    whole = hit + wrong + smooth
    nothing = ops.equal(whole, 0.0)
    share = ops.where(nothing, 0.0, wrong / ops.where(nothing, 1.0, whole))
    return ops.expand_dims(share, -1) if axis is None else share


def _probabilities(y_pred: Any, from_logits: bool | str, axis: int | None) -> tuple[Any, Any]:
    """The pair p and 1 - p, each to its own last digit where sigmoid logits are given."""
    classes = 1 if axis is None else y_pred.shape[axis]
    if from_logits is True and classes != 1:
        raise ValueError(
            "`from_logits` must name the activation where there are several classes: 'sigmoid' for "
            "masks that may overlap, 'softmax' for exclusive classes. Received: from_logits=True, "
            f"y_pred.shape={tuple(y_pred.shape)}, axis={axis}"
        )
    if from_logits == "softmax":
        if classes == 1:
            raise ValueError(
                "`y_pred` must have at least 2 classes: softmax over one is the constant 1. "
                f"Received: y_pred.shape={tuple(y_pred.shape)}, axis={axis}"
            )
        on = ops.softmax(categorical_logits(y_pred, True), axis=axis)
        return on, 1.0 - on
    if from_logits:
        logits = binary_logits(y_pred, True)
        return ops.sigmoid(logits), ops.sigmoid(-logits)
    on = wide_float(y_pred)
    # A sum over classes can end a rounding above 1. No clip: at 1 its slope depends on the backend.
    return ops.where(on < 0, 0.0, on), ops.where(on > 1, 0.0, 1.0 - on)


def _masks(y_true: Any, on: Any, ignore_class: int | None, axis: int | None) -> tuple[Any, Any]:
    """Labels of the shape of the prediction (ids become one mask a class), and which count."""
    rank = len(on.shape)
    same_rank = len(y_true.shape) == rank
    if axis is None or on.shape[axis] == 1 or (same_rank and y_true.shape[axis] != 1):
        label, _ = aligned(ops.cast(y_true, on.dtype), on)
        return label, _counted(label, ignore_class)
    ids = ops.cast(aligned_labels(y_true, on, axis), "int32")
    every_class = ops.reshape(
        ops.arange(ops.shape(on)[axis], dtype="int32"),
        [-1 if i == axis else 1 for i in range(rank)],
    )
    ids = ops.expand_dims(ids, axis)
    known = ops.logical_and(ids >= 0, ids < ops.shape(on)[axis])
    masks = ops.cast(ops.equal(ids, every_class), on.dtype)
    return ops.where(known, masks, math.nan), _counted(ids, ignore_class)


def _counted(label: Any, ignore_class: int | None) -> Any:
    if ignore_class is None:
        return None
    return ops.not_equal(ops.cast(label, "float32"), float(ignore_class))
