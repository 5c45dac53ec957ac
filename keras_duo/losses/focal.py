"""Focal loss: cross-entropy that fades where the prediction is already right.

With m the log-odds of a right prediction, m = log(p_t / (1 - p_t)), and zeta = softplus,

    focal = alpha_t * (1 - p_t)^gamma * CE = alpha_t * exp(-gamma * zeta(m)) * CE,

which has no clipping, no power of a small number and no difference of near-equal ones: it is exact
from one end of the range of float32 to the other.
"""

from collections.abc import Callable
from typing import Annotated, Any

from keras import backend, ops

from keras_duo._clusters import sum_over
from keras_duo._register import register
from keras_duo._validate import (
    aligned,
    aligned_labels,
    integer,
    known_axis,
    number_or_sequence,
    optional,
    validated,
)
from keras_duo.losses._binary_terms import binary_terms, power
from keras_duo.losses._class_terms import (
    Axis,
    Flag,
    Gamma,
    Smoothing,
    class_count,
    class_terms,
    from_largest,
    log_sum_of_others,
)
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._fused import mean_over
from keras_duo.losses._logits import binary_logits, categorical_logits, log_of, tiny_of

Balance = Annotated[
    float | tuple[float, ...] | None, optional(number_or_sequence(at_least=0, at_most=1))
]
ClassWeights = Annotated[float | tuple[float, ...] | None, optional(number_or_sequence(at_least=0))]
ClassId = Annotated[int | None, optional(integer())]


@validated
def focal_loss(
    y_true: Any,
    y_pred: Any,
    *,
    gamma: Gamma = 2.0,
    alpha: Balance = None,
    from_logits: Flag = False,
    label_smoothing: Smoothing = 0.0,
    axis: Axis = -1,
) -> Any:
    """Binary focal loss, alpha_t * (1 - p_t)^gamma * CE, averaged over `axis`.

    p_t = y * p + (1 - y) * (1 - p) and alpha_t = y * alpha + (1 - y) * (1 - alpha) come from the
    label as given; `label_smoothing` enters the cross-entropy alone. gamma = 0 and alpha = None
    give binary cross-entropy.

    Args:
        y_true: Labels in [0, 1], 1 for the positive class: (batch, ..., labels), or without the
            last axis where it is 1. Integers, booleans, or soft labels as floats.
        y_pred: Predictions of the same shape.
        gamma: How fast an example fades as it is learned; >= 0.
        alpha: Weight of the positive class in [0, 1], the negative class gets 1 - alpha; one
            number, or one for each label along `axis`. None: both classes weigh 1.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
        label_smoothing: Share of each target that is moved to 1/2; in [0, 1].
        axis: The axis of the labels.

    Returns:
        float32 or wider, shape of `y_pred` without `axis`.

    Raises:
        ValueError: If an argument is out of range, or the shapes differ: nothing is broadcast.

    Source:
        Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.

    Example:
        >>> from keras_duo.losses import focal_loss
        >>> float(focal_loss([[1, 0]], [[2.0, -1.0]], from_logits=True)[0])
        0.01223...
    """
    logits = binary_logits(y_pred, from_logits)
    label, logits = aligned(ops.cast(ops.convert_to_tensor(y_true), logits.dtype), logits)
    axis = known_axis(axis, len(logits.shape))
    values = _binary_focal(gamma, label_smoothing)(label, logits)
    if alpha is not None:
        positive = _along(alpha, axis, logits)
        values = values * (label * positive + (1.0 - label) * (1.0 - positive))
    return mean_over(values, axis)


@validated
def categorical_focal_loss(
    y_true: Any,
    y_pred: Any,
    *,
    gamma: Gamma = 2.0,
    alpha: ClassWeights = None,
    from_logits: Flag = False,
    label_smoothing: Smoothing = 0.0,
    axis: Axis = -1,
) -> Any:
    """Focal loss over exclusive classes, alpha_t * (1 - p_t)^gamma * CE(y_true, p).

    p_t = sum(y * p) and alpha_t = sum(y * alpha) come from the label as given; `label_smoothing`
    enters the cross-entropy alone. gamma = 0 and alpha = None give categorical cross-entropy.

    Args:
        y_true: One-hot or soft labels that sum to 1 over `axis`, shape of `y_pred`.
        y_pred: Logits, or probabilities (which are normalised), with at least 2 classes on `axis`.
        gamma: How fast an example fades as it is learned; >= 0.
        alpha: Weight of the loss, >= 0: one number, or one for each class. None: 1.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
        label_smoothing: Share of each target that is spread evenly over all classes; in [0, 1].
        axis: The axis of the classes.

    Returns:
        float32 or wider, shape of `y_pred` without `axis`.

    Raises:
        ValueError: If an argument is out of range, or the shapes differ: class ids belong to
            `sparse_categorical_focal_loss`.

    Source:
        Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.

    Example:
        >>> from keras_duo.losses import categorical_focal_loss
        >>> float(categorical_focal_loss([[0, 1, 0]], [[0.1, 0.8, 0.1]])[0])
        0.00892...
    """
    terms = class_terms(y_true, y_pred, from_logits, label_smoothing, axis)
    values = _faded(terms.cross_entropy, terms.miss, terms.margin, gamma)
    if alpha is None:
        return values
    weight = _along(alpha, terms.axis, terms.logits)
    return values * ops.sum(terms.label * weight, axis=terms.axis)


@validated
def sparse_categorical_focal_loss(
    y_true: Any,
    y_pred: Any,
    *,
    gamma: Gamma = 2.0,
    alpha: ClassWeights = None,
    from_logits: Flag = False,
    ignore_class: ClassId = None,
    axis: Axis = -1,
) -> Any:
    """Focal loss over exclusive classes, alpha_t * (1 - p_t)^gamma * -log(p_t), for class ids.

    An id outside [0, classes) that is not `ignore_class` gives NaN on every backend, so that a
    wrong label stops a run instead of being trained on or passed over.

    Args:
        y_true: Class ids: shape of `y_pred` without `axis`, or with a 1 in its place.
        y_pred: Logits, or probabilities (which are normalised), with at least 2 classes on `axis`.
        gamma: How fast an example fades as it is learned; >= 0.
        alpha: Weight of the loss, >= 0: one number, or one for each class. None: 1.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
        ignore_class: An id whose elements have loss and gradient 0. In `SparseCategoricalFocal`
            they do not count in a mean either.
        axis: The axis of the classes.

    Returns:
        float32 or wider, shape of `y_pred` without `axis`.

    Raises:
        ValueError: If an argument is out of range, or the shapes do not fit: one-hot labels belong
            to `categorical_focal_loss`.

    Source:
        Lin et al., Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.

    Example:
        >>> from keras_duo.losses import sparse_categorical_focal_loss
        >>> float(sparse_categorical_focal_loss([1], [[0.1, 0.8, 0.1]])[0])
        0.00892...
    """
    logits = categorical_logits(y_pred, from_logits)
    axis = known_axis(axis, len(logits.shape))
    classes = class_count(logits, axis)
    ids = _class_ids(y_true, logits, axis)
    ignored = None if ignore_class is None else ops.equal(ids, ignore_class)
    if ignored is not None:
        ids = ops.where(ignored, ops.zeros_like(ids), ids)
    every_class = ops.reshape(
        ops.arange(classes, dtype=ids.dtype),
        [-1 if i == axis else 1 for i in range(len(logits.shape))],
    )
    is_label = ops.equal(ops.expand_dims(ids, axis), every_class)

    shifted = from_largest(logits, axis)
    right = sum_over(ops.where(is_label, shifted, 0.0), axis)
    margin = ops.squeeze(right - log_sum_of_others(is_label, shifted, axis), axis)
    known = ops.logical_and(ids >= 0, ids < classes)
    margin = ops.where(known, margin, float("nan"))
    values = _faded(ops.softplus(-margin), ops.sigmoid(-margin), margin, gamma)
    if alpha is not None:
        weight = ops.where(is_label, _along(alpha, axis, logits), 0.0)
        values = values * ops.sum(weight, axis=axis)
    if ignored is not None:
        values = ops.where(ignored, 0.0, values)
    return values


@register
class Focal(FunctionLoss, function=focal_loss):
    """Binary and multi-label focal loss; output activation: sigmoid.

    It pays where one class is rare: easy examples, most of them negative, stop drowning the rest.

        model.add(keras.layers.Dense(1, activation="sigmoid"))
        model.compile("adam", loss=keras_duo.Focal(gamma=2.0, alpha=0.25))
    """


@register
class CategoricalFocal(FunctionLoss, function=categorical_focal_loss):
    """Focal loss for one-hot or soft labels; output activation: softmax.

    With its output layer:

        model.add(keras.layers.Dense(10, activation="softmax"))
        model.compile("adam", loss=keras_duo.CategoricalFocal(gamma=1.0, label_smoothing=0.1))
    """


@register
class SparseCategoricalFocal(FunctionLoss, function=sparse_categorical_focal_loss):
    """Focal loss for class ids; output activation: softmax.

    With its output layer:

        model.add(keras.layers.Dense(10, activation="softmax"))
        model.compile("adam", loss=keras_duo.SparseCategoricalFocal(ignore_class=-1))
    """

    def valid(self, y_true: Any, y_pred: Any) -> Any:
        """Everything but `ignore_class`."""
        if self.ignore_class is None:
            return None
        axis = known_axis(self.axis, len(y_pred.shape))
        return ops.not_equal(_class_ids(y_true, y_pred, axis), self.ignore_class)


def _faded(cross_entropy: Any, miss: Any, margin: Any, gamma: float) -> Any:
    """(1 - p_t)^gamma * cross_entropy; 1 - p_t is `miss`, and its logarithm -softplus(margin)."""
    if gamma == 0:
        return cross_entropy
    return power(miss, -ops.softplus(margin), gamma) * cross_entropy


def _binary_focal(gamma: float, smoothing: float) -> Callable:
    """(label y, logit z) -> (1 - p_t)^gamma * CE, elementwise, from one exponential.

    p and 1 - p are both known to their last digit, and so is 1 - p_t = y (1 - p) + (1 - y) p.
    """
    keep, rest = 1.0 - smoothing, 0.5 * smoothing  # the target is keep * y + rest

    @ops.custom_gradient
    def focal(label: Any, logits: Any) -> tuple[Any, Callable]:
        on, off, on_entropy, off_entropy = binary_terms(logits)
        target = keep * label + rest
        cross_entropy = target * on_entropy + (1.0 - target) * off_entropy
        wrong = label * off + (1.0 - label) * on
        # Where 1 - p_t is no float any more, its logarithm still is.
        vanished = wrong < tiny_of(wrong)
        log_wrong = ops.where(vanished, -ops.abs(logits), log_of(wrong))
        fade = power(wrong, log_wrong, gamma)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            # TensorFlow and JAX pass the upstream gradient alone, torch the arguments before it.
            upstream = args[0] if upstream is None else upstream
            steepness, divisor = gamma * fade * cross_entropy, ops.maximum(wrong, tiny_of(wrong))
            share = ops.where(vanished, 1.0, on * off / divisor)
            to_logits = fade * ((1.0 - target) * on - target * off)
            to_logits = to_logits + steepness * (1.0 - 2.0 * label) * share
            to_label = steepness * ((off - on) / divisor) - keep * fade * logits
            return upstream * to_label, upstream * to_logits

        return fade * cross_entropy, gradient

    return focal


def _class_ids(y_true: Any, y_pred: Any, axis: int) -> Any:
    ids = aligned_labels(ops.convert_to_tensor(y_true), y_pred, axis)
    # A narrow integer type cannot count the classes: uint8 ends at 255.
    return ids if backend.standardize_dtype(ids.dtype) == "int64" else ops.cast(ids, "int32")


def _along(alpha: float | tuple[float, ...], axis: int, logits: Any) -> Any:
    """`alpha` as a tensor that meets the axis it belongs to."""
    if isinstance(alpha, float):
        return alpha
    if logits.shape[axis] not in (None, len(alpha)):
        raise ValueError(
            f"`alpha` must be one number, or one for each of the {logits.shape[axis]} entries of "
            f"axis {axis} of `y_pred`. Received: {len(alpha)} numbers, alpha={alpha}"
        )
    shape = [-1 if i == axis else 1 for i in range(len(logits.shape))]
    return ops.reshape(ops.convert_to_tensor(alpha, dtype=logits.dtype), shape)
