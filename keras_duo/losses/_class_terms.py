"""Cross-entropy over exclusive classes, as a function of the log-odds of a right prediction."""

from typing import Annotated, Any, NamedTuple

from keras import ops

from keras_duo._validate import aligned, flag, integer, known_axis, number
from keras_duo.losses._logits import categorical_logits, log_of

# Arguments that the classification losses share.
Axis = Annotated[int, integer()]
Flag = Annotated[bool, flag()]
Gamma = Annotated[float, number(at_least=0)]
Smoothing = Annotated[float, number(at_least=0, at_most=1)]

# From this smoothing on no cross-entropy is so small that Keras' fused one would round it off.
_NEVER_SMALL = 0.01
_LOWEST = -1e38  # below every float32 logit in use, and finite


class ClassTerms(NamedTuple):
    """What the losses over exclusive classes are made of; all but the first two are per example.

    `margin` is log(p_t / (1 - p_t)) with p_t = sum(y * p); `hard` tells of a one-hot label.
    """

    label: Any
    logits: Any
    axis: int
    hard: Any
    mass: Any
    margin: Any
    cross_entropy: Any

    @property
    def wrong(self) -> Any:
        """1 - p_t; 0 where there is no label at all."""
        return self.mass * ops.exp(-ops.softplus(self.margin))


def class_terms(
    y_true: Any, y_pred: Any, from_logits: bool, label_smoothing: float, axis: int
) -> ClassTerms:
    """The terms of one-hot or soft labels; `label_smoothing` enters the cross-entropy alone."""
    logits = categorical_logits(y_pred, from_logits)
    label, logits = aligned(
        ops.cast(ops.convert_to_tensor(y_true), logits.dtype),
        logits,
        "class ids belong to the sparse form of the loss, or become labels by `keras.ops.one_hot`",
    )
    axis = known_axis(axis, len(logits.shape))
    classes = class_count(logits, axis)

    mass = ops.sum(label, axis=axis)
    softness = ops.sum(label * (1.0 - label), axis=axis)
    hard = ops.logical_and(ops.equal(softness, 0.0), ops.equal(mass, 1.0))
    is_label = ops.logical_and(ops.expand_dims(hard, axis), ops.equal(label, 1.0))
    shifted, exp_others = against_others(logits, is_label, axis)

    # Log-sum-exp of the logits, weighted by the label and by what the label leaves to the others.
    score = ops.sum(label * shifted, axis=axis)
    right = ops.where(hard, score, log_of(ops.sum(label * exp_others, axis=axis)))
    wrong = log_of(ops.sum((1.0 - label) * exp_others, axis=axis))
    margin = right - wrong
    if not label_smoothing:
        # 0 for a hard label. Its gradient is 0 as well, but only as a sum: 1 - 1 beside a slope of
        # 1e-9 would leave nothing of the slope.
        spread = ops.where(hard, 0.0, mass * right - score)
        cross_entropy = mass * ops.softplus(-margin) + spread
        return ClassTerms(label, logits, axis, hard, mass, margin, cross_entropy)
    target = label * (1.0 - label_smoothing) + label_smoothing / classes
    if label_smoothing >= _NEVER_SMALL:
        cross_entropy = ops.categorical_crossentropy(target, logits, from_logits=True, axis=axis)
    else:
        spread = mass * right - ops.sum(target * shifted, axis=axis)
        cross_entropy = mass * ops.softplus(-margin) + spread
    return ClassTerms(label, logits, axis, hard, mass, margin, cross_entropy)


def against_others(logits: Any, is_label: Any, axis: int) -> tuple[Any, Any]:
    """The logits less the largest one that is not the label's, and their exponentials.

    None of those overflows, and their sum over the others never underflows: the exponential of the
    label itself, which could do either, is left out (it reads 1).
    """
    largest = ops.max(ops.where(is_label, _LOWEST, logits), axis=axis, keepdims=True)
    shifted = logits - ops.stop_gradient(largest)
    return shifted, ops.exp(ops.where(is_label, 0.0, shifted))


def class_count(logits: Any, axis: int) -> Any:
    """The number of classes, after a check that there is more than one."""
    count = logits.shape[axis]
    if count is not None and count < 2:
        raise ValueError(
            "`y_pred` must have at least 2 classes: softmax over one is the constant 1. For one "
            f"sigmoid unit use `Focal`. Received: y_pred.shape={tuple(logits.shape)}, axis={axis}"
        )
    return ops.shape(logits)[axis]
