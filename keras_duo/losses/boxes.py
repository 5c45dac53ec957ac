"""Box regression: 1 - IoU and what GIoU, DIoU and CIoU add to it.

On each axis a pair of boxes is a handful of lengths, none of them negative: what both cover, what
only the label covers (missed), what only the prediction covers (extra), the gap between them and
the hull around them. Every area here is a sum of products of such lengths:

    union - intersection = missed + extra area,     hull - union = empty area.

Nothing near-equal is subtracted, so that a perfect box scores exactly 0 and a nearly perfect one
keeps its digits. Lengths are first divided by the hull, which no measure depends on: the area of a
box of size 1e-20 is no float32.
"""

from typing import Annotated, Any, NamedTuple

from keras import ops

from keras_duo._register import register
from keras_duo._validate import Rule, aligned, validated
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._logits import wide_float

_FORMATS = (
    *("xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw"),
    *("rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh"),
)

# Below any box in use, and its inverse is far from overflow in float32.
_SMALLEST = 1e-36


def _known_format(value: Any) -> str:
    if not isinstance(value, str) or value.lower() not in _FORMATS:
        raise ValueError
    return value.lower()


BoxFormat = Annotated[str, Rule(f"be one of {', '.join(_FORMATS)}", _known_format)]


@validated
def iou_loss(y_true: Any, y_pred: Any, *, bounding_box_format: BoxFormat = "xyxy") -> Any:
    """1 - IoU, where IoU = intersection / union; in [0, 1].

    Its gradient is 0 where the boxes do not overlap: the other three losses keep pulling there.
    Equal boxes score 0 and different boxes without any area score 1.

    Args:
        y_true: Boxes, (batch, ..., boxes, 4). Integers or floats.
        y_pred: Boxes of the same shape and format. A size below 0 counts as 0.
        bounding_box_format: The Keras name of the format, in any case: xyxy, yxyx, xywh (corner and
            size), center_xywh, center_yxhw, or rel_xyxy, rel_yxyx, rel_xywh, rel_center_xywh.

    Returns:
        One value a box: float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If the format is not known, the shapes differ, or the last axis is not 4.

    Source:
        Rezatofighi et al., Generalized Intersection over Union, 2019, arXiv:1902.09630.

    Example:
        >>> from keras_duo.losses import iou_loss
        >>> float(iou_loss([[0, 0, 2, 2]], [[1.0, 1.0, 2.0, 2.0]])[0])
        0.75
    """
    return _iou_term(_pair(y_true, y_pred, bounding_box_format))


@validated
def giou_loss(y_true: Any, y_pred: Any, *, bounding_box_format: BoxFormat = "xyxy") -> Any:
    """1 - GIoU, where GIoU = IoU - (hull - union) / hull; in [0, 2].

    The hull is the smallest box around both. Boxes that do not overlap are pulled together.

    Args:
        y_true: Boxes, (batch, ..., boxes, 4). Integers or floats.
        y_pred: Boxes of the same shape and format. A size below 0 counts as 0.
        bounding_box_format: The Keras name of the format; see `iou_loss`.

    Returns:
        One value a box: float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If the format is not known, the shapes differ, or the last axis is not 4.

    Source:
        Rezatofighi et al., Generalized Intersection over Union, 2019, arXiv:1902.09630.

    Example:
        >>> from keras_duo.losses import giou_loss
        >>> float(giou_loss([[0, 0, 1, 1]], [[1.0, 1.0, 2.0, 2.0]])[0])
        1.5
    """
    pair = _pair(y_true, y_pred, bounding_box_format)
    return _iou_term(pair) + _empty_term(pair)


@validated
def diou_loss(y_true: Any, y_pred: Any, *, bounding_box_format: BoxFormat = "xyxy") -> Any:
    """1 - DIoU, where DIoU = IoU - (distance of the centres / diagonal of the hull)^2; in [0, 2].

    Relative coordinates are taken as they are. In pixels of an image that is not square the
    distances differ: convert first (`keras.utils.bounding_boxes.convert_format`) where that counts.

    Args:
        y_true: Boxes, (batch, ..., boxes, 4). Integers or floats.
        y_pred: Boxes of the same shape and format. A size below 0 counts as 0.
        bounding_box_format: The Keras name of the format; see `iou_loss`.

    Returns:
        One value a box: float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If the format is not known, the shapes differ, or the last axis is not 4.

    Source:
        Zheng et al., Distance-IoU Loss, 2019, arXiv:1911.08287.

    Example:
        >>> from keras_duo.losses import diou_loss
        >>> float(diou_loss([[0, 0, 1, 1]], [[1.0, 1.0, 2.0, 2.0]])[0])
        1.25
    """
    pair = _pair(y_true, y_pred, bounding_box_format)
    return _iou_term(pair) + _distance_term(pair)


@validated
def ciou_loss(y_true: Any, y_pred: Any, *, bounding_box_format: BoxFormat = "xyxy") -> Any:
    """1 - CIoU, where CIoU = DIoU - alpha v and v compares width / height; in [0, 3).

    v = 4 / pi^2 * (atan(w_true / h_true) - atan(w_pred / h_pred))^2 and alpha = v / (1 - IoU + v).
    As in the paper alpha is a constant to the gradient. Relative coordinates are taken as they are,
    as in `diou_loss`.

    Args:
        y_true: Boxes, (batch, ..., boxes, 4). Integers or floats.
        y_pred: Boxes of the same shape and format. A size below 0 counts as 0.
        bounding_box_format: The Keras name of the format; see `iou_loss`.

    Returns:
        One value a box: float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If the format is not known, the shapes differ, or the last axis is not 4.

    Source:
        Zheng et al., Distance-IoU Loss, 2019, arXiv:1911.08287.

    Example:
        >>> from keras_duo.losses import ciou_loss
        >>> float(ciou_loss([[0, 0, 2, 2]], [[0.0, 0.0, 1.0, 2.0]])[0])
        0.5344...
    """
    pair = _pair(y_true, y_pred, bounding_box_format)
    iou_term = _iou_term(pair)
    v = 0.4052847345693511 * ops.square(_aspect_angle(pair))  # 4 / pi^2
    alpha = ops.stop_gradient(_ratio(v, iou_term + v))
    return iou_term + _distance_term(pair) + alpha * v


@register
class IoU(FunctionLoss, function=iou_loss):
    """1 - IoU of boxes, for a head that already overlaps its boxes.

    Output activation: sigmoid for relative formats, linear for pixels, and softplus for the two
    sizes of the xywh formats. A corner format can come out inverted: it then has no size, and only
    its place has a gradient.

        model.compile("adam", loss=keras_duo.IoU(bounding_box_format="rel_center_xywh"))
    """


@register
class GIoU(FunctionLoss, function=giou_loss):
    """1 - GIoU of boxes, which also trains boxes that do not overlap yet.

    Output activation: as for `IoU`.

        model.compile("adam", loss=keras_duo.GIoU(bounding_box_format="xyxy"))
    """


@register
class DIoU(FunctionLoss, function=diou_loss):
    """1 - DIoU of boxes, which pulls the centres together and converges faster than GIoU.

    Output activation: as for `IoU`.

        model.compile("adam", loss=keras_duo.DIoU(bounding_box_format="center_xywh"))
    """


@register
class CIoU(FunctionLoss, function=ciou_loss):
    """1 - CIoU of boxes: overlap, distance of the centres and aspect ratio.

    Output activation: as for `IoU`.

        model.compile("adam", loss=keras_duo.CIoU(bounding_box_format="center_xywh"))
    """


class _Pair(NamedTuple):
    """A label and a prediction as lengths, x and y on the first axis, all but `offset` >= 0.

    Behind it the boxes lie side by side, as the machine takes several at once.
    """

    true: Any  # sizes of the two boxes
    pred: Any
    shared: Any  # covered by both
    missed: Any  # by the label only
    extra: Any  # by the prediction only
    gap: Any  # between the two, where they are apart
    hull: Any
    offset: Any  # from centre to centre

    def over(self, unit: Any) -> "_Pair":
        """The same lengths in another unit, which is a constant to the gradient."""
        unit = ops.stop_gradient(unit)
        # What is smaller counts as 0. A CPU flushes some of it, a GPU would find infinite slopes.
        unit = ops.where(unit < _SMALLEST, float("inf"), unit)
        return _Pair(*(length / unit for length in self))


def _pair(y_true: Any, y_pred: Any, bounding_box_format: str) -> _Pair:
    y_pred = wide_float(y_pred)
    y_true = ops.cast(ops.convert_to_tensor(y_true), y_pred.dtype)
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    y_true, y_pred = aligned(y_true, y_pred)
    if y_pred.shape[-1] != 4:
        raise ValueError(
            "`y_true` and `y_pred` must hold the 4 numbers of a box on their last axis. "
            f"Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
        )
    true_low, true_high = _corners(ops.moveaxis(y_true, -1, 0), bounding_box_format)
    pred_low, pred_high = _corners(ops.moveaxis(y_pred, -1, 0), bounding_box_format)
    true, pred = true_high - true_low, pred_high - pred_low
    below, above = true_low - pred_low, pred_high - true_high
    overlap = ops.minimum(true_high, pred_high) - ops.maximum(true_low, pred_low)
    return _Pair(
        true=true,
        pred=pred,
        # Not relu: where the overlap is exactly 0, a prediction without a size is let grow.
        shared=ops.where(overlap < 0, 0.0, overlap),
        # relu has gradient 0 at 0 on every backend: a side in its place is left there.
        missed=_at_most(true, ops.relu(-below) + ops.relu(-above)),
        extra=_at_most(pred, ops.relu(below) + ops.relu(above)),
        gap=ops.relu(-overlap),
        hull=ops.maximum(true_high, pred_high) - ops.minimum(true_low, pred_low),
        offset=0.5 * (above - below),
    )


def _corners(boxes: Any, bounding_box_format: str) -> tuple[Any, Any]:
    """The low and the high corner, (x, y) each. A size below 0 becomes 0 in its place."""
    form = bounding_box_format.removeprefix("rel_")
    first, second = boxes[:2], boxes[2:]
    if "yx" in form:
        first, second = ops.flip(first, axis=0), ops.flip(second, axis=0)
    if form in ("xyxy", "yxyx"):
        inverted = second < first
        centre = 0.5 * (first + second)
        return ops.where(inverted, centre, first), ops.where(inverted, centre, second)
    size = ops.where(second < 0, 0.0, second)
    if form.startswith("center"):
        return first - 0.5 * size, first + 0.5 * size
    return first, first + size


def _iou_term(pair: _Pair) -> Any:
    """1 - IoU = (missed + extra area) / union."""
    unit = pair.over(pair.hull)
    shared_x, shared_y = ops.unstack(unit.shared)
    missed_x, missed_y = ops.unstack(unit.missed)
    extra_x, extra_y = ops.unstack(unit.extra)
    missed = missed_x * unit.true[1] + shared_x * missed_y
    extra = extra_x * unit.pred[1] + shared_x * extra_y
    shared, differing = shared_x * shared_y, missed + extra
    # By the ratio of the smaller to the larger: boxes that lie apart have a slope of exactly 0,
    # where differing / union would leave its rounding for an optimizer to follow.
    apart = shared < differing
    ratio = _ratio(ops.where(apart, shared, differing), ops.where(apart, differing, shared))
    value = ops.where(apart, 1.0, ratio) / (1.0 + ratio)
    unequal = ops.any(ops.maximum(pair.missed, pair.extra) + pair.gap > 0, axis=0)
    return ops.where(shared + differing > 0, value, ops.cast(unequal, value.dtype))


def _empty_term(pair: _Pair) -> Any:
    """(hull - union) / hull: the corners of an overlap, and the gaps."""
    unit = pair.over(pair.hull)
    missed_x, missed_y = ops.unstack(unit.missed)
    extra_x, extra_y = ops.unstack(unit.extra)
    gap_x, gap_y = ops.unstack(unit.gap)
    hull_x, hull_y = ops.unstack(unit.hull)
    corners = extra_x * missed_y + missed_x * extra_y
    gaps = gap_x * hull_y + (hull_x - gap_x) * gap_y
    return _ratio(corners + gaps, hull_x * hull_y)


def _distance_term(pair: _Pair) -> Any:
    unit = pair.over(ops.max(pair.hull, axis=0, keepdims=True))
    distance = ops.sum(ops.square(unit.offset), axis=0)
    return _ratio(distance, ops.sum(ops.square(unit.hull), axis=0))


def _aspect_angle(pair: _Pair) -> Any:
    """atan(width / height) of the label less that of the prediction, by one arc tangent."""
    width, height = ops.unstack(_shape_of(pair.true))
    pred_width, pred_height = ops.unstack(_shape_of(pair.pred))
    # By differences, which are exactly 0 for equal boxes: one of two products that are subtracted
    # may be rounded, and the other one not.
    across = (width - pred_width) * pred_height - pred_width * (height - pred_height)
    return ops.arctan2(across, height * pred_height + width * pred_width)


def _shape_of(size: Any) -> Any:
    """Width and height, the larger as 1; a point counts as square."""
    longest = ops.stop_gradient(ops.max(size, axis=0, keepdims=True))
    return ops.where(longest > 0, size / ops.maximum(longest, _SMALLEST), 1.0)


def _at_most(size: Any, length: Any) -> Any:
    """The smaller of the two; where they are equal the gradient goes to `length`."""
    return ops.where(size < length, size, length)


def _ratio(part: Any, whole: Any) -> Any:
    """Quotient with value and gradient 0 where there is no whole."""
    # The derivative divides by the square of the whole, which has to stay clear of 0.
    unit = ops.maximum(ops.stop_gradient(whole), _SMALLEST)
    positive = whole > 0
    return ops.where(positive, (part / unit) / ops.where(positive, whole / unit, 1.0), 0.0)
