"""Cross-entropy for labels that are partly wrong, and for labels of which few are positive.

All of them are functions of the log-odds m of a right prediction, with zeta = softplus:

    cross-entropy = zeta(-m),     1 - p_t = exp(-zeta(m)),

so that neither the value nor the slope of a hopeless or of a finished example is rounded to 0.
"""

from collections.abc import Callable
from typing import Annotated, Any

from keras import ops

from keras_duo._clusters import sum_over
from keras_duo._register import register
from keras_duo._validate import aligned, known_axis, number, validated
from keras_duo.losses._binary_terms import binary_terms, power
from keras_duo.losses._class_terms import (
    Axis,
    Flag,
    Gamma,
    Smoothing,
    class_terms,
    from_largest,
)
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._fused import mean_over
from keras_duo.losses._logits import binary_logits, log_of

Weight = Annotated[float, number(at_least=0)]
LogZero = Annotated[float, number(below=0)]
Coefficient = Annotated[float, number(at_least=-1)]
Shift = Annotated[float, number(at_least=0, below=1)]

# A smaller shift changes no float32 result, and its logarithm could be that of 0.
_SMALLEST_SHIFT = 1e-30


@validated
def symmetric_cross_entropy_loss(
    y_true: Any,
    y_pred: Any,
    *,
    alpha: Weight = 0.1,
    beta: Weight = 1.0,
    log_zero: LogZero = -4.0,
    from_logits: Flag = False,
    label_smoothing: Smoothing = 0.0,
    axis: Axis = -1,
) -> Any:
    """Alpha * CE(y, p) + beta * RCE, RCE = -sum(p * log(y)) with log(y) >= `log_zero`.

    The reverse cross-entropy RCE of a one-hot label is -log_zero * (1 - p_t): it is bounded, so
    that a wrong label cannot pull harder than a right one. Both terms come from the label as given;
    `label_smoothing` enters CE alone.

    Args:
        y_true: One-hot or soft labels that sum to 1 over `axis`, shape of `y_pred`.
        y_pred: Logits, or probabilities (which are normalised), with at least 2 classes on `axis`.
        alpha: Weight of the cross-entropy, >= 0; smaller for noisier labels.
        beta: Weight of the reverse cross-entropy, >= 0.
        log_zero: What stands for log(0), < 0. Logarithms of soft labels are not below it either.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
        label_smoothing: Share of each target of CE that is spread evenly over all classes.
        axis: The axis of the classes.

    Returns:
        float32 or wider, shape of `y_pred` without `axis`.

    Raises:
        ValueError: If an argument is out of range, or the shapes differ.

    Source:
        Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, 2019,
        arXiv:1908.06112.

    Example:
        >>> from keras_duo.losses import symmetric_cross_entropy_loss
        >>> float(symmetric_cross_entropy_loss([[0, 1, 0]], [[0.1, 0.8, 0.1]])[0])
        0.82231...
    """
    terms = class_terms(y_true, y_pred, from_logits, label_smoothing, axis)
    distance = ops.minimum(-log_of(terms.label), -log_zero)
    # For a one-hot label the slope of this sum is left to rounding where p_t is small.
    exp = ops.exp(from_largest(terms.logits, terms.axis))
    spread = sum_over(distance * exp, terms.axis) / sum_over(exp, terms.axis)
    reverse = ops.where(terms.hard, -log_zero * terms.wrong, ops.squeeze(spread, terms.axis))
    return alpha * terms.cross_entropy + beta * reverse


@validated
def poly_cross_entropy_loss(
    y_true: Any,
    y_pred: Any,
    *,
    epsilon: Coefficient = 1.0,
    from_logits: Flag = False,
    label_smoothing: Smoothing = 0.0,
    axis: Axis = -1,
) -> Any:
    """Poly-1 cross-entropy, CE(y, p) + epsilon * (1 - p_t), where p_t = sum(y * p).

    Cross-entropy is the sum of (1 - p_t)^k / k; epsilon changes the coefficient of k = 1, to which
    the long end of a training run owes most of its gradient. p_t comes from the label as given;
    `label_smoothing` enters CE alone.

    Args:
        y_true: One-hot or soft labels that sum to 1 over `axis`, shape of `y_pred`.
        y_pred: Logits, or probabilities (which are normalised), with at least 2 classes on `axis`.
        epsilon: Added to the coefficient 1, >= -1: above 0 for confident, below 0 for tempered
            predictions.
        from_logits: Whether `y_pred` holds logits rather than probabilities.
        label_smoothing: Share of each target of CE that is spread evenly over all classes.
        axis: The axis of the classes.

    Returns:
        float32 or wider, shape of `y_pred` without `axis`.

    Raises:
        ValueError: If an argument is out of range, or the shapes differ.

    Source:
        Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions,
        2022, arXiv:2204.12511.

    Example:
        >>> from keras_duo.losses import poly_cross_entropy_loss
        >>> float(poly_cross_entropy_loss([[0, 1, 0]], [[0.1, 0.8, 0.1]])[0])
        0.42314...
    """
    terms = class_terms(y_true, y_pred, from_logits, label_smoothing, axis)
    plain = terms.cross_entropy + epsilon * terms.wrong
    if epsilon >= 0 or label_smoothing:
        return plain
    # CE - (1 - p_t) is a difference of near-equal numbers: its own series, where that is shorter.
    short = terms.wrong < 0.25
    wrong = ops.where(short, terms.wrong, 0.25)
    series = (1.0 + epsilon) * wrong + _beyond_first_term(wrong)
    return ops.where(ops.logical_and(terms.hard, short), series, plain)


@validated
def asymmetric_focal_loss(
    y_true: Any,
    y_pred: Any,
    *,
    gamma_positive: Gamma = 0.0,
    gamma_negative: Gamma = 4.0,
    shift: Shift = 0.05,
    from_logits: Flag = False,
    axis: Axis = -1,
) -> Any:
    """ASL, y * (1 - p)^gp * -log(p) + (1 - y) * q^gn * -log(1 - q); mean over `axis`.

    gp and gn are the two gammas, q = max(p - shift, 0): a negative label that is predicted below
    `shift` has loss and gradient 0. Where few of many labels are positive, this and a larger gn
    keep the negative ones from deciding the training. shift = 0 and equal gammas give focal loss.

    Args:
        y_true: Labels in [0, 1], 1 for the positive class: (batch, ..., labels), or without the
            last axis where it is 1. Integers, booleans, or soft labels as floats.
        y_pred: Predictions of the same shape.
        gamma_positive: How fast a positive label fades as it is learned; >= 0.
        gamma_negative: The same for a negative label; >= 0.
        shift: The margin of probability that a negative label is spared, in [0, 1).
        from_logits: Whether `y_pred` holds logits rather than probabilities.
        axis: The axis of the labels. The paper sums over it: a mean has the same minimiser.

    Returns:
        float32 or wider, shape of `y_pred` without `axis`.

    Raises:
        ValueError: If an argument is out of range, or the shapes differ: nothing is broadcast.

    Source:
        Ridnik et al., Asymmetric Loss For Multi-Label Classification, 2020, arXiv:2009.14119.

    Example:
        >>> from keras_duo.losses import asymmetric_focal_loss
        >>> float(asymmetric_focal_loss([[1, 0]], [[0.5, 0.9]])[0])
        0.84172...
    """
    logits = binary_logits(y_pred, from_logits)
    label, logits = aligned(ops.cast(ops.convert_to_tensor(y_true), logits.dtype), logits)
    axis = known_axis(axis, len(logits.shape))
    values = _asymmetric_focal(gamma_positive, gamma_negative, shift)(label, logits)
    return mean_over(values, axis)


@register
class SymmetricCrossEntropy(FunctionLoss, function=symmetric_cross_entropy_loss):
    """Cross-entropy that withstands wrong labels; output activation: softmax.

    With its output layer:

        model.add(keras.layers.Dense(10, activation="softmax"))
        model.compile("adam", loss=keras_duo.SymmetricCrossEntropy(alpha=0.1, beta=1.0))
    """


@register
class PolyCrossEntropy(FunctionLoss, function=poly_cross_entropy_loss):
    """Cross-entropy with one more coefficient to tune; output activation: softmax.

    With its output layer:

        model.add(keras.layers.Dense(10, activation="softmax"))
        model.compile("adam", loss=keras_duo.PolyCrossEntropy(epsilon=2.0))
    """


@register
class AsymmetricFocal(FunctionLoss, function=asymmetric_focal_loss):
    """Multi-label loss for many labels of which few are positive; output activation: sigmoid.

    With its output layer:

        model.add(keras.layers.Dense(80, activation="sigmoid"))
        model.compile("adam", loss=keras_duo.AsymmetricFocal(gamma_negative=4.0, shift=0.05))
    """


def _beyond_first_term(wrong: Any) -> Any:
    """-log(1 - w) - w = w^2 / 2 + w^3 / 3 + ..., for w up to 1/4 to the last digit of float32."""
    total = 0.0
    for k in range(18, 1, -1):
        total = total * wrong + 1.0 / k
    return total * wrong * wrong


def _asymmetric_focal(gamma_positive: float, gamma_negative: float, shift: float) -> Callable:
    """(label y, logit z) -> y (1 - p)^gp -log(p) + (1 - y) q^gn -log(1 - q), elementwise.

    The slope of p is p (1 - p), in which both factors keep their digits at both ends. q is the
    difference of whichever of p and 1 - p has more of them.
    """

    @ops.custom_gradient
    def asymmetric(label: Any, logits: Any) -> tuple[Any, Callable]:
        on, off, on_entropy, off_entropy = binary_terms(logits)
        fade = power(off, -off_entropy, gamma_positive)
        # Of the negative label: whether it counts, q, 1 - q and -log(1 - q).
        if shift < _SMALLEST_SHIFT:
            counted, q, rest, entropy, log_q = True, on, off, off_entropy, -on_entropy
        else:
            q = ops.where(logits > 0, (1.0 - shift) - off, on - shift)
            counted = q > 0
            q = ops.where(counted, q, 0.5)
            rest = ops.where(q < 0.5, 1.0 - q, off + shift)
            entropy, log_q = _minus_log(rest, q), ops.log(q)
        fade_q = power(q, log_q, gamma_negative)
        positive, negative = fade * on_entropy, ops.where(counted, fade_q * entropy, 0.0)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            # TensorFlow and JAX pass the upstream gradient alone, torch the arguments before it.
            upstream = args[0] if upstream is None else upstream
            by_positive = -fade * (gamma_positive * on * on_entropy + off)
            if shift < _SMALLEST_SHIFT:
                by_negative = fade_q * (gamma_negative * off * entropy + on)
            else:
                steepness = gamma_negative * (entropy / q) + 1.0 / rest
                by_negative = ops.where(counted, fade_q * steepness * (on * off), 0.0)
            to_logits = label * by_positive + (1.0 - label) * by_negative
            return upstream * (positive - negative), upstream * to_logits

        return label * positive + (1.0 - label) * negative, gradient

    return asymmetric


def _minus_log(rest: Any, q: Any) -> Any:
    """-log(rest) where rest = 1 - q, to the last digit for small q too.

    What 1 - q has lost to rounding is a factor q / (1 - rest) of its logarithm (Kahan).
    """
    lost = 1.0 - rest
    all_lost = ops.equal(lost, 0.0)
    exact = ops.logical_or(q >= 0.5, all_lost)
    factor = ops.where(exact, 1.0, q / ops.where(exact, 1.0, lost))
    return ops.where(all_lost, q, -ops.log(rest) * factor)
