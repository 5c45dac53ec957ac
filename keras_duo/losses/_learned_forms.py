"""The shapes that a learned loss can take, as functions of the likelihood p of the label.

p is the probability of the label, or exp(-(error / scale)^2) of a number, so that -log p is the
cross-entropy, or the squared error. Coefficients are a sequence of numbers, or a tensor to
differentiate by. Every form falls from infinity or from a height to 0 while p rises from 0 to 1.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from keras_duo._validate import aligned, known_axis
from keras_duo.losses._class_terms import class_terms
from keras_duo.losses._logits import wide_float

FORMS = ("mixture", "taylor", "network")
TASKS = ("classification", "regression")

# The exponents q of (1 - p^q) / q in a mixture, whose last term is (1 - p)^2.
POWERS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
TERMS = len(POWERS) + 1
DEGREE = 3
UNITS = 8
# Larger coefficients only make a loss steeper than any optimizer likes.
LARGEST = 100.0


class Likelihood(NamedTuple):
    """-log p as the loss sums it up, -log p of the label as one whole, 1 - p, and 1 or no label."""

    cross_entropy: Any
    distance: Any
    wrong: Any
    mass: Any


def likelihood(
    y_true: Any, y_pred: Any, task: str, from_logits: bool, axis: int, scale: float
) -> Likelihood:
    """The likelihood of each label of a classification, of each number of a regression."""
    if task == "classification":
        terms = class_terms(y_true, y_pred, from_logits, 0.0, axis)
        distance = ops.softplus(-terms.margin)
        return Likelihood(terms.cross_entropy, distance, terms.wrong, terms.mass)
    label, output = _numbers(y_true, y_pred, axis)
    distance = ops.square((label - output) / scale)
    return Likelihood(distance, distance, -ops.expm1(-distance), 1.0)


def loss_values(
    y_true: Any,
    y_pred: Any,
    form: str,
    coefficients: Any,
    task: str,
    from_logits: bool,
    axis: int,
    scale: float,
) -> Any:
    """One value an example."""
    terms = likelihood(y_true, y_pred, task, from_logits, axis, scale)
    values = _VALUES[form](terms, coefficients)
    return values if task == "classification" else ops.mean(scale**2 * values, axis=axis)


def absolute_error(y_true: Any, y_pred: Any, task: str, from_logits: bool, axis: int) -> Any:
    """1 - p of the label; of a regression the mean absolute error. One value an example."""
    if task == "classification":
        return likelihood(y_true, y_pred, task, from_logits, axis, 1.0).wrong
    return ops.mean(ops.abs(ops.subtract(*_numbers(y_true, y_pred, axis))), axis=axis)


def starting_coefficients(form: str) -> tuple[float, ...]:
    """Those of cross-entropy, or of the squared error."""
    if form == "mixture":
        return (1.0,) + (0.0,) * (TERMS - 1)
    if form == "taylor":
        return (0.0,) * DEGREE
    # Half of the units look along 1 - p and half along the scale of -log p, each around its place.
    places = [(i + 0.5) / (UNITS // 2) for i in range(UNITS // 2)]
    first = [4.0] * len(places) + [0.0] * len(places)
    second = [0.0] * len(places) + [4.0] * len(places)
    biases = [-4.0 * place for place in places + places]
    return (*first, *second, *biases, *[0.0] * UNITS, math.log(math.e - 1.0))


def bounds(form: str) -> tuple[Sequence[float], Sequence[float]]:
    """The least and the largest value of each coefficient."""
    count = len(starting_coefficients(form))
    if form == "mixture":
        return [0.0] * count, [1.0] * count
    if form == "taylor":
        # d/dw of -log(1 - w) is at least 1: these slopes together take no more than that away.
        return [-1.0 / (DEGREE * k) for k in range(1, DEGREE + 1)], [LARGEST] * count
    return [-LARGEST] * count, [LARGEST] * count


def known_coefficients(form: str, coefficients: Any) -> tuple[float, ...]:
    """The coefficients that were given, or the first ones; an error where they do not fit."""
    if coefficients is None:
        return starting_coefficients(form)
    given = coefficients if isinstance(coefficients, tuple) else (coefficients,)
    least, largest = bounds(form)
    fits = len(given) == len(least) and all(
        low <= value <= high for low, value, high in zip(least, given, largest, strict=True)
    )
    if not fits or (form == "mixture" and abs(math.fsum(given) - 1.0) > 1e-6):
        raise ValueError(f"`coefficients` must {_RULES[form]}. Received: coefficients={given}")
    return given


def formula(form: str, coefficients: Sequence[float]) -> str:
    """The loss in words of p."""
    if form == "mixture":
        parts = [(w, name) for w, name in zip(coefficients, _NAMES, strict=True) if w]
    elif form == "taylor":
        powers = ["(1 - p)", *(f"(1 - p)^{k}" for k in range(2, DEGREE + 1))]
        parts = [(1.0, "(-log p)")]
        parts += [(c, power) for c, power in zip(coefficients, powers, strict=True) if c]
    else:
        first, second, biases, weights, last = _layers(coefficients)
        units = "".join(
            f" {'-' if v < 0 else '+'} {abs(v):.4g} tanh({a:.4g} (1 - p) + {b:.4g} s + {c:.4g})"
            for a, b, c, v in zip(first, second, biases, weights, strict=True)
            if v
        )
        return f"(-log p) softplus({last:.4g}{units}), s = -log p / (1 - log p)"
    text = "".join(
        f" {'-' if factor < 0 else '+'} "
        + (name if abs(factor) == 1 else f"{abs(factor):.4g} {name}")
        for factor, name in parts
    )
    return text.removeprefix(" + ")


_NAMES = (
    "(-log p)",
    *(f"(1 - p^{q:g}) / {q:g}" if q != 1 else "(1 - p)" for q in POWERS[1:]),
    "(1 - p)^2",
)
_RULES = {
    "mixture": f"be {TERMS} numbers >= 0 that sum to 1",
    "taylor": f"be {DEGREE} numbers, the k-th of them in [-1 / {DEGREE}k, {LARGEST:g}]",
    "network": f"be {4 * UNITS + 1} numbers in [-{LARGEST:g}, {LARGEST:g}]",
}


def _numbers(y_true: Any, y_pred: Any, axis: int) -> tuple[Any, Any]:
    output = wide_float(y_pred)
    label, output = aligned(ops.cast(ops.convert_to_tensor(y_true), output.dtype), output)
    known_axis(axis, len(output.shape))
    return label, output


def _mixture(terms: Likelihood, weights: Any) -> Any:
    total = 0.0
    for i, power in enumerate((*POWERS, None)):
        # What a frozen loss does not use, it does not compute.
        if isinstance(weights[i], float) and weights[i] == 0.0:
            continue
        if power is None:
            value = ops.square(terms.wrong)
        elif power == 0.0:
            value = terms.cross_entropy
        else:
            value = terms.mass * (-ops.expm1(-power * terms.distance) / power)
        total = total + weights[i] * value
    return total


def _taylor(terms: Likelihood, coefficients: Any) -> Any:
    total = 0.0
    for k in reversed(range(DEGREE)):
        total = (total + coefficients[k]) * terms.wrong
    return terms.cross_entropy + total


def _network(terms: Likelihood, coefficients: Any) -> Any:
    first, second, biases, weights, last = _layers(coefficients)
    squashed = terms.distance / (1.0 + terms.distance)
    total = last
    for i in range(UNITS):
        unit = ops.tanh(first[i] * terms.wrong + second[i] * squashed + biases[i])
        total = total + weights[i] * unit
    return terms.cross_entropy * ops.softplus(total)


def _layers(coefficients: Any) -> list:
    """Two input weights, a bias and an output weight of each unit, and the output bias."""
    layers = [coefficients[i * UNITS : (i + 1) * UNITS] for i in range(4)]
    return [*layers, coefficients[4 * UNITS]]


_VALUES = {"mixture": _mixture, "taylor": _taylor, "network": _network}
