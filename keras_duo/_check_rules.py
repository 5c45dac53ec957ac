"""The rules of `check`: which ends and losses do not fit, and what is said about them, as data."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from keras_duo._output_end import OutputEnd


@dataclass(frozen=True)
class LossFacts:
    """What the rules need to know of a loss. `axis` is the one that it takes for the classes."""

    name: str
    family: str
    from_logits: bool = False
    axis: int = -1


@dataclass(frozen=True)
class Rule:
    """A finding about an output, and the pairs it is for. None admits everything.

    The texts are templates; `_figures` lists what they may name.
    """

    code: str
    severity: str
    kinds: tuple[str, ...] | None
    families: tuple[str, ...] | None
    from_logits: bool | None
    problem: str
    consequence: str
    fix: str
    when: Callable[[OutputEnd, LossFacts, tuple], bool] = lambda end, loss, shape: True

    def applies(self, end: OutputEnd, loss: LossFacts, shape: tuple) -> bool:
        return (
            (self.kinds is None or end.kind in self.kinds)
            and (self.families is None or loss.family in self.families)
            and self.from_logits in (None, loss.from_logits)
            and self.when(end, loss, shape)
        )


def size_of(shape: tuple, axis: int) -> int | None:
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def _axis_elsewhere(end: OutputEnd, loss: LossFacts, shape: tuple) -> bool:
    return end.axis is None or end.axis != loss.axis % len(shape)


_TWICE = (
    "TensorFlow takes the logits back, with a warning, if the loss is a crossentropy (or one of "
    "keras_duo) and gets the output straight from the activation in float32; otherwise, and on "
    "JAX and torch, {what}"
)
_USE_PROBABILITIES = "Set `from_logits=False` in the loss, or make the output linear."
_END_IN_PARTNER = "End the model in a {partner}."
_USE_LOGITS = "{repair}"
_CLIPPED = (
    "Values outside [0, 1] are clipped. BinaryCrossentropy and KLDivergence have gradient exactly "
    "0 there, the focal losses below 1e-6 on one side: those examples stop learning, and in "
    "BinaryCrossentropy a positive one below 0 costs 16.1 for good."
)
_SHARES = (
    "The outputs, or their shares in their sum, are clipped as probabilities. Where the share of "
    "the labelled class is negative, Keras' crossentropies are above 16 with gradient exactly 0."
)

RULES = (
    Rule(
        "softmax-one-unit", "error", ("softmax",), None, None,
        "The softmax runs over a single unit.",
        "The output is the constant 1, whatever the input. On TensorFlow BinaryCrossentropy still "
        "falls, because it uses the logits behind the softmax; the predictions stay 1.",
        "Use a sigmoid for one unit, or one unit for each class.",
        when=lambda end, loss, shape: end.units == 1,
    ),
    Rule(
        "categorical-one-unit", "error", None, ("categorical",), None,
        "{loss} gets a single class.",
        "The share of the only class is 1: the loss is the constant 0 and nothing is learned.",
        "For two classes use a binary loss, as BinaryCrossentropy, or two units.",
        when=lambda end, loss, shape: size_of(shape, loss.axis) == 1 and end.kind != "softmax",
    ),
    Rule(
        "softmax-from-logits", "error", ("softmax",), ("categorical",), True,
        "The output is a softmax, and {loss} has from_logits=True: it applies a second one.",
        _TWICE.format(
            what="no class can pass probability {top:.3f}, the loss stays above {floor:.3f}, and "
            "training is slower."
        ),
        _USE_PROBABILITIES,
    ),
    Rule(
        "softmax-from-logits", "error", ("softmax",), ("binary",), True,
        "The output is a softmax, and {loss} has from_logits=True: it applies a sigmoid to it.",
        "No probability falls below 0.5 or passes 0.731, except on TensorFlow straight "
        "from the softmax: there BinaryCrossentropy warns and trains sigmoids in its place.",
        "For one label an example use a categorical loss with from_logits=False; for several use "
        "a linear output.",
    ),
    Rule(
        "sigmoid-from-logits", "error", ("sigmoid",), ("binary", "categorical"), True,
        "The output is a {activation}, and {loss} has from_logits=True: it takes the "
        "probabilities for logits.",
        _TWICE.format(
            what="values in [0, 1] are the logits: in a binary loss no probability falls below 0.5 "
            "or passes 0.731, and the gradient of a positive example is 5 times smaller at logit "
            "0 and 112 times smaller at logit -4."
        ),
        _USE_PROBABILITIES,
    ),
    Rule(
        "logits-as-probabilities", "error", ("linear", "log-probability"),
        ("binary", "divergence"), False,
        "The output is {activation}, and {loss} expects probabilities.",
        _CLIPPED, _USE_LOGITS,
    ),
    Rule(
        "logits-as-probabilities", "error", ("linear",), ("categorical",), False,
        "The output is linear, and {loss} expects probabilities.",
        _SHARES, _USE_LOGITS,
    ),
    Rule(
        "logits-as-probabilities", "error", ("log-probability",), ("categorical",), False,
        "The output is {activation}, and {loss} expects probabilities.",
        "The loss divides the logarithms by their sum: the least likely class gets the largest "
        "share. Other losses clip them to 0, with gradient 0.",
        _USE_LOGITS,
    ),
    Rule(
        "unbounded-probability", "warning", ("unbounded",),
        ("binary", "categorical", "divergence"), False,
        "The output comes from {activation}, which scales and shifts it, and {loss} expects "
        "probabilities.",
        "Nothing keeps the values in [0, 1]. BinaryCrossentropy and KLDivergence clip what leaves "
        "it, with gradient 0; CategoricalCrossentropy clips negative shares of the sum.",
        _USE_LOGITS,
    ),
    Rule(
        "rectified-probability", "error", ("rectified", "leaky", "positive"),
        ("binary", "divergence"), False,
        "The output is {activation}, which has no bound at 1, and {loss} expects probabilities.",
        "Above 1 and below 0 the output is clipped: BinaryCrossentropy and KLDivergence have "
        "gradient exactly 0 there, and at 0 as well. A positive example costs 16.1 there.",
        _END_IN_PARTNER,
    ),
    Rule(
        "rectified-probability", "error", ("rectified",), ("categorical",), False,
        "The output is {activation}, and {loss} expects probabilities.",
        "A class at 0 has gradient 0. Where all classes are 0, CategoricalCrossentropy divides 0 "
        "by 0: the loss is NaN, and then the weights are.",
        _END_IN_PARTNER,
    ),
    Rule(
        "rectified-probability", "error", ("leaky",), ("categorical",), False,
        "The output is {activation}, which can be negative, and {loss} expects probabilities.",
        _SHARES, _END_IN_PARTNER,
    ),
    Rule(
        "tanh-probability", "error", ("bounded",), ("binary", "divergence"), False,
        "The output is {activation}, in [-1, 1], and {loss} expects probabilities.",
        _CLIPPED, _END_IN_PARTNER,
    ),
    Rule(
        "tanh-probability", "error", ("bounded",), ("categorical",), False,
        "The output is {activation}, in [-1, 1], and {loss} expects probabilities.",
        _SHARES, _END_IN_PARTNER,
    ),
    Rule(
        "rectified-logits", "warning", ("rectified", "leaky", "positive"), ("binary",), True,
        "The output is {activation}, and {loss} takes it for logits, which are never below "
        "{low:g}.",
        "No probability falls below {p_low:.3f}, and the loss of a negative example not below "
        "{floor_negative:.3f}.",
        "Make the output linear.",
        when=lambda end, loss, shape: math.isfinite(end.low),
    ),
    Rule(
        "rectified-logits", "warning", ("rectified", "leaky", "positive"), ("categorical",), True,
        "The output is {activation}, and {loss} takes it for logits, which are never below "
        "{low:g}.",
        "No class can be ruled out by its own logit; the others have to grow instead.",
        "Make the output linear.",
        when=lambda end, loss, shape: math.isfinite(end.low),
    ),
    Rule(
        "bounded-logits", "warning", ("bounded",), ("binary",), True,
        "The output is {activation}, and {loss} takes it for logits, all in [-1, 1].",
        "Every probability stays between 0.269 and 0.731, and no loss of a right prediction falls "
        "below 0.313.",
        "Make the output linear.",
    ),
    Rule(
        "bounded-logits", "warning", ("bounded",), ("categorical",), True,
        "The output is {activation}, and {loss} takes it for logits, all in [-1, 1].",
        "No class passes probability {top_bounded:.3f}.",
        "Make the output linear.",
        when=lambda end, loss, shape: size_of(shape, loss.axis) != 1,
    ),
    Rule(
        "softmax-multi-label", "warning", ("softmax",), ("binary",), False,
        "The output is a softmax over {units} units, and {loss} treats them as independent.",
        "The outputs sum to 1, so two labels that are both true get 0.5 each at best. One-hot "
        "labels do train. On TensorFlow, in float32, BinaryCrossentropy even trains sigmoids on "
        "the logits, and only the predictions pass the softmax.",
        "For several labels an example end in a sigmoid; for one use a categorical loss.",
        when=lambda end, loss, shape: end.axis is not None and end.units not in (None, 1),
    ),
    Rule(
        "sigmoid-single-label", "warning", ("sigmoid",), ("categorical",), False,
        "The output is a {activation} for each class, and {loss} expects one distribution.",
        "The loss divides the outputs by their sum or, for the crossentropies on TensorFlow in "
        "float32, uses the softmax of the logits: it trains, but the predictions are neither, and "
        "do not sum to 1.",
        "End the model in a softmax.",
        when=lambda end, loss, shape: size_of(shape, loss.axis) not in (None, 1),
    ),
    Rule(
        "unknown-output", "unknown", ("softmax",), ("categorical",), False,
        "The softmax does not run over axis {axis}, which {loss} takes for the classes, or what "
        "follows it has moved them.",
        "Whether the classes meet cannot be told from the graph.",
        "Make sure that softmax and loss have the same axis.",
        when=lambda end, loss, shape: end.units != 1 and _axis_elsewhere(end, loss, shape),
    ),
)  # fmt: skip

# Findings about a model or a loss rather than a pair: code -> severity, problem, consequence, fix.
GENERAL = {
    "one-output-many-losses": (
        "error",
        "One output is compiled with a list of {count} losses.",
        "In `fit(x, y)` Keras trains {first} alone, silently; the others are computed and dropped.",
        "Pass one loss, or one that holds the sum.",
    ),
    "not-compiled": (
        "unknown",
        "The model is not compiled.",
        "There is no loss to compare the output with.",
        "Call `model.compile(loss=...)` first.",
    ),
    "unknown-loss": (
        "unknown",
        "{reason}.",
        "Whether the output fits it cannot be told.",
        "Check by hand what range of values the loss expects.",
    ),
    "unknown-output": (
        "unknown",
        "The values of the output cannot be told: {reason}.",
        "Whether they fit the loss cannot be told either.",
        "Check by hand what range of values the output can take.",
    ),
}

CODES = frozenset(GENERAL) | {rule.code for rule in RULES}
