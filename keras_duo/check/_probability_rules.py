"""Rules about outputs and losses of probabilities, read without data."""

import math

from keras_duo.check._rule import Pairing, Rule


def _axis_elsewhere(pairing: Pairing) -> bool:
    axis = pairing.end.axis
    return axis is None or axis != pairing.loss.axis % len(pairing.shape)


def _squashed_before(pairing: Pairing) -> bool:
    return _before(pairing) in ("softmax", "sigmoid")


def _rectified_before(pairing: Pairing) -> bool:
    before = pairing.end.before
    return (
        before is not None
        and before.kind in ("rectified", "leaky", "positive")
        and math.isfinite(before.low)
    )


def _before(pairing: Pairing) -> str | None:
    return pairing.end.before.kind if pairing.end.before else None


def _several_true(pairing: Pairing) -> bool:
    labels = pairing.labels
    if labels is None or labels.coding != "multi-hot" or pairing.layout != "per unit":
        return False
    return bool((labels.rows.sum(axis=-1) > 1).any())


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

_NO_RATIO = (
    "Outside [0, 1] the overlap is no share: Keras' Dice scores an output of 10 for a label of 1 "
    "with -0.818, and has no lower bound. The losses of keras_duo take such values for 0 or 1."
)
_NO_POWER = (
    "The loss is (1 - p^q) / q of the labelled class: NaN for p below 0, and below 0 without bound "
    "for p above 1."
)

PROBABILITY_RULES = (
    Rule(
        "softmax-one-unit", "error", ("softmax",), None, None,
        "The softmax runs over a single unit.",
        "The output is the constant 1, whatever the input. On TensorFlow BinaryCrossentropy still "
        "falls, because it uses the logits behind the softmax; the predictions stay 1.",
        "Use a sigmoid for one unit, or one unit for each class.",
        when=lambda p: p.end.units == 1,
    ),
    Rule(
        "double-softmax", "error", ("softmax",), None, None,
        "The output is a softmax of a {before}.",
        "It takes values in [0, 1] for logits: no class can pass probability {top:.3f}, and a "
        "crossentropy stays above {floor:.3f}.",
        "Keep one of the two.",
        when=_squashed_before,
    ),
    Rule(
        "double-sigmoid", "error", ("sigmoid",), None, None,
        "The output is a {activation} of a {before}.",
        "It takes values in [0, 1] for logits: no output falls below 0.5 or passes 0.731.",
        "Keep one of the two.",
        when=_squashed_before,
    ),
    Rule(
        "categorical-one-unit", "error", None, ("categorical",), None,
        "{loss} gets a single class.",
        "The share of the only class is 1: the loss is the constant 0 and nothing is learned.",
        "For two classes use a binary loss, as BinaryCrossentropy, or two units.",
        when=lambda p: p.classes == 1 and p.end.kind != "softmax",
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
        when=lambda p: math.isfinite(p.end.low),
    ),
    Rule(
        "rectified-logits", "warning", ("rectified", "leaky", "positive"), ("categorical",), True,
        "The output is {activation}, and {loss} takes it for logits, which are never below "
        "{low:g}.",
        "No class can be ruled out by its own logit; the others have to grow instead.",
        "Make the output linear.",
        when=lambda p: math.isfinite(p.end.low),
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
        when=lambda p: p.classes != 1,
    ),
    Rule(
        "bounded-logits", "warning", ("sigmoid",), None, None,
        "The output is a {activation} of a {before}, all of whose values are in [-1, 1].",
        "Every probability stays between 0.269 and 0.731, and no loss of a right prediction falls "
        "below 0.313.",
        "Make what goes into the {activation} linear.",
        when=lambda p: _before(p) == "bounded",
    ),
    Rule(
        "bounded-logits", "warning", ("softmax",), None, None,
        "The output is a softmax of a {before}, all of whose values are in [-1, 1].",
        "No class passes probability {top_bounded:.3f}.",
        "Make what goes into the softmax linear.",
        when=lambda p: _before(p) == "bounded" and p.end.units != 1,
    ),
    Rule(
        "rectified-logits", "warning", ("sigmoid",), None, None,
        "The output is a {activation} of a {before}, none of whose values is below {before_low:g}.",
        "No probability falls below {p_low:.3f}, and the crossentropy of a negative example not "
        "below {floor_negative:.3f}.",
        "Make what goes into the {activation} linear.",
        when=_rectified_before,
    ),
    Rule(
        "softmax-multi-label", "error", ("softmax",), ("binary",), False,
        "The output is a softmax over {units} units, and up to {ones:.0f} of the labels of an "
        "example are 1.",
        "The outputs sum to 1: {ones:.0f} labels that are all true get 1/{ones:.0f} each at best. "
        "On TensorFlow, in float32, BinaryCrossentropy trains sigmoids on the logits, and only the "
        "predictions pass the softmax.",
        "End the model in a sigmoid.",
        when=_several_true,
    ),
    Rule(
        "softmax-multi-label", "warning", ("softmax",), ("binary",), False,
        "The output is a softmax over {units} units, and {loss} treats them as independent.",
        "The outputs sum to 1, so two labels that are both true get 0.5 each at best. One-hot "
        "labels do train. On TensorFlow, in float32, BinaryCrossentropy even trains sigmoids on "
        "the logits, and only the predictions pass the softmax.",
        "For several labels an example end in a sigmoid; for one use a categorical loss.",
        when=lambda p: p.end.axis is not None
        and p.end.units not in (None, 1)
        and not _several_true(p),
    ),
    Rule(
        "sigmoid-single-label", "warning", ("sigmoid",), ("categorical",), False,
        "The output is a {activation} for each class, and {loss} expects one distribution.",
        "The loss divides the outputs by their sum or, for the crossentropies on TensorFlow in "
        "float32, uses the softmax of the logits: it trains, but the predictions are neither, and "
        "do not sum to 1.",
        "End the model in a softmax.",
        when=lambda p: p.classes not in (None, 1),
    ),
    Rule(
        "softmax-from-logits", "error", ("softmax",), ("sequence", "overlap"), True,
        "The output is a softmax, and {loss} takes it for logits.",
        "It applies a second activation to values in [0, 1]: after a softmax no class passes "
        "probability {top:.3f}, after a sigmoid none falls below 0.5. The overlap losses of "
        "keras_duo take the logits back where TensorFlow keeps them, with a warning.",
        "Make the output linear.",
    ),
    Rule(
        "sigmoid-from-logits", "error", ("sigmoid",), ("sequence", "overlap"), True,
        "The output is a {activation}, and {loss} takes it for logits.",
        "It applies a second activation to values in [0, 1]: after a sigmoid no output falls below "
        "0.5, after a softmax no class passes probability {top_classes:.3f}. The overlap losses of "
        "keras_duo take the logits back where TensorFlow keeps them, with a warning.",
        "Make the output linear.",
    ),
    Rule(
        "logits-as-probabilities", "error", ("linear", "log-probability"), ("overlap",), False,
        "The output is {activation}, and {loss} expects probabilities.",
        _NO_RATIO, _END_IN_PARTNER,
    ),
    Rule(
        "rectified-probability", "error", ("rectified", "leaky", "positive"), ("overlap",), False,
        "The output is {activation}, which has no bound at 1, and {loss} expects probabilities.",
        _NO_RATIO, _END_IN_PARTNER,
    ),
    Rule(
        "tanh-probability", "error", ("bounded",), ("overlap",), False,
        "The output is {activation}, in [-1, 1], and {loss} expects probabilities.",
        _NO_RATIO, _END_IN_PARTNER,
    ),
    Rule(
        "logits-as-probabilities", "error", ("linear", "log-probability"), ("labelled-class",),
        False,
        "The output is {activation}, and {loss} expects probabilities.",
        _NO_POWER, _END_IN_PARTNER,
    ),
    Rule(
        "rectified-probability", "error", ("rectified", "leaky", "positive"), ("labelled-class",),
        False,
        "The output is {activation}, which has no bound at 1, and {loss} expects probabilities.",
        _NO_POWER, _END_IN_PARTNER,
    ),
    Rule(
        "tanh-probability", "error", ("bounded",), ("labelled-class",), False,
        "The output is {activation}, in [-1, 1], and {loss} expects probabilities.",
        _NO_POWER, _END_IN_PARTNER,
    ),
    Rule(
        "sigmoid-single-label", "error", ("sigmoid",), ("labelled-class",), False,
        "The output is a {activation} for each class, and {loss} expects one distribution.",
        "The loss reads the labelled class alone, and nothing lowers the others: all outputs at 1 "
        "score 0.",
        "End the model in a softmax.",
        when=lambda p: p.classes != 1,
    ),
    Rule(
        "half-precision-probability", "warning", ("softmax", "sigmoid"),
        ("binary", "categorical", "divergence", "labelled-class"), False,
        "The {activation} at the end computes in {dtype}, and {loss} reads its probabilities.",
        "Beyond a logit of 8.3 in float16, and of 6.2 in bfloat16, the probability rounds to 1: a "
        "confident mistake costs about 16 with gradient exactly 0, and is not corrected.",
        "Give the last layer dtype='float32'.",
        when=lambda p: p.end.dtype in ("float16", "bfloat16"),
    ),
    Rule(
        "unknown-output", "unknown", ("softmax",), ("categorical",), False,
        "The softmax does not run over axis {axis}, which {loss} takes for the classes, or what "
        "follows it has moved them.",
        "Whether the classes meet cannot be told from the graph.",
        "Make sure that softmax and loss have the same axis.",
        when=lambda p: p.end.units != 1 and _axis_elsewhere(p),
    ),
)  # fmt: skip
