"""Cross-entropy over exclusive classes, as a function of the log-odds of a right prediction."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from keras import ops

from keras_duo._clusters import sum_over
from keras_duo._gradients import with_gradients
from keras_duo._validate import aligned, flag, integer, known_axis, number
from keras_duo.losses._logits import categorical_logits, log_of, tiny_of

# Arguments that the classification losses share.
Axis = Annotated[int, integer()]
Flag = Annotated[bool, flag()]
Gamma = Annotated[float, number(at_least=0)]
Smoothing = Annotated[float, number(at_least=0, at_most=1)]


class ClassTerms(NamedTuple):
    """What the losses over exclusive classes are made of; all but the first two are per example.

    `margin` is log(p_t / (1 - p_t)) with p_t = sum(y * p), and `miss` 1 - p_t.
    """

    label: Any
    logits: Any
    axis: int
    margin: Any
    miss: Any
    cross_entropy: Any

    @property
    def mass(self) -> Any:
        """1; 0 where there is no label at all."""
        return self._sum(self.label)

    @property
    def hard(self) -> Any:
        """Which labels are one-hot."""
        softness = self._sum(self.label * (1.0 - self.label))
        return ops.logical_and(ops.equal(softness, 0.0), ops.equal(self.mass, 1.0))

    @property
    def wrong(self) -> Any:
        """1 - p_t; 0 where there is no label at all."""
        return self.mass * self.miss

    def _sum(self, tensor: Any) -> Any:
        return ops.squeeze(sum_over(tensor, self.axis), self.axis)


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
    class_count(logits, axis)
    terms = _label_terms(axis, label_smoothing)(label, logits)
    return ClassTerms(label, logits, axis, *terms)


def class_count(logits: Any, axis: int) -> Any:
    """The number of classes, after a check that there is more than one."""
    count = logits.shape[axis]
    if count is not None and count < 2:
        raise ValueError(
            "`y_pred` must have at least 2 classes: softmax over one is the constant 1. For one "
            f"sigmoid unit use `Focal`. Received: y_pred.shape={tuple(logits.shape)}, axis={axis}"
        )
    return ops.shape(logits)[axis]


def log_sum_of_others(is_label: Any, shifted: Any, axis: int) -> Any:
    """Log-sum-exp of the logits (less the largest one of all) without the one that is the label."""
    return log_of(sum_over(ops.where(is_label, 0.0, ops.exp(shifted)), axis))


def from_largest(logits: Any, axis: int) -> Any:
    """The logits less the largest one, as which none of their exponentials overflows."""
    return logits - ops.stop_gradient(ops.max(logits, axis=axis, keepdims=True))


def _label_terms(axis: int, smoothing: float) -> Callable:
    """(label y, logits) -> (margin, 1 - p_t, cross-entropy), with a gradient that keeps its digits.

    With e = exp(logits - max), R = sum(y e), W = sum((1 - y) e) and the target t,

        margin = log R - log W,     1 - p_t = W / (R + W),
        cross-entropy = sum(t) log(R + W) - sum(t (logits - max)).

    Nothing cancels where a one-hot label is nearly certain: R is 1 then, its logarithm exactly 0.
    Differentiating these formulas would give the slope of that class as (1 - W) - 1, which leaves
    nothing of a W of 1e-9. In the gradient below y e / R - y is exactly 0 there, and -W stands
    beside it.
    """

    @with_gradients
    def terms(label: Any, logits: Any) -> tuple[tuple, Callable]:
        shifted = from_largest(logits, axis)
        exp = ops.exp(shifted)
        right = ops.maximum(sum_over(label * exp, axis), tiny_of(exp))
        wrong = ops.maximum(sum_over((1.0 - label) * exp, axis), tiny_of(exp))
        size, score = sum_over(label, axis), sum_over(label * shifted, axis)
        keep, rest = 1.0, 0.0  # of the target keep * y + rest
        if smoothing:
            keep, rest = 1.0 - smoothing, smoothing / ops.cast(ops.shape(logits)[axis], exp.dtype)
            size = keep * size + smoothing
            score = keep * score + rest * sum_over(shifted, axis)
        larger, smaller = ops.maximum(right, wrong), ops.minimum(right, wrong)
        # The largest exponential is 1: where all of it is in one of the two, nothing is lost here.
        log_sum = ops.log1p((larger - 1.0) + smaller)
        margin, cross_entropy = ops.log(right) - ops.log(wrong), size * log_sum - score
        miss = wrong / (right + wrong)

        def gradient(*upstream: Any) -> tuple[Any, Any]:
            to_margin, to_miss, to_entropy = (ops.expand_dims(each, axis) for each in upstream)
            to_margin = to_margin - to_miss * miss * (right / (right + wrong))
            pull = to_margin - to_entropy * size * miss
            # Not every kernel has 1 / 1 = 1, and a division for each element is slow. 2 - r is 1
            # there too, and has the slope of 1 / r, for who differentiates this gradient.
            inverse = ops.where(ops.equal(right, 1.0), 2.0 - right, 1.0 / right)
            # Other products than those summed above, which shared would have to be stored.
            among_right = label * (exp * inverse)
            among_wrong = (1.0 - label) * (exp * (1.0 / wrong))
            excess = among_right * (to_entropy * size) - to_entropy * (keep * label + rest)
            to_label = to_margin * exp * (inverse + 1.0 / wrong)
            to_label = to_label + (keep * to_entropy) * (log_sum - shifted)
            return to_label, (among_right - among_wrong) * pull + excess

        parts = (margin, miss, cross_entropy)
        return tuple(ops.squeeze(part, axis) for part in parts), gradient

    return terms
