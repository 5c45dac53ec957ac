"""Rules about outputs and losses of scores, rates and quantiles, read without data."""

from keras_duo.check._rule import Pairing, Rule


def _orders_itself(pairing: Pairing) -> bool:
    return pairing.end.quantiles is not None


def _several_quantiles(pairing: Pairing) -> bool:
    return len(pairing.loss.quantiles) > 1


_CAN_BE_NEGATIVE = ("linear", "log-probability", "bounded", "leaky", "unbounded")

SCORE_RULES = (
    Rule(
        "probability-hinge", "warning", ("sigmoid", "softmax"), ("hinge",), None,
        "The output is a {activation}, and {loss} expects scores around 0.",
        "No output is negative: a negative example never costs less than 1, the sign says positive "
        "for every example, and the gradient fades where the {activation} is sure and wrong: by 57 "
        "at logit -4.",
        "Make the output linear, or use a crossentropy.",
        when=lambda p: p.end.units != 1,
    ),
    Rule(
        "probability-hinge", "warning", ("sigmoid", "softmax"), ("categorical-hinge",), None,
        "The output is a {activation}, and {loss} asks for a margin of 1 between scores.",
        "The margin is reached only at exactly 1 and 0, where the {activation} has no gradient "
        "left: a sure mistake is not corrected.",
        "Make the output linear, or use CategoricalCrossentropy.",
        when=lambda p: p.end.units != 1,
    ),
    Rule(
        "sigmoid-adversarial", "error", ("sigmoid", "softmax"), ("adversarial",), None,
        "The output is a {activation}, and {loss} expects raw scores.",
        "The discriminator's gradient for a fake that it takes for real fades with the "
        "{activation}: by 57 at score 4, by 2983 at score 8. The difference of two scores is at "
        "most 1, and NonSaturating and RelativisticAverage apply a sigmoid of their own.",
        "Make the output linear.",
        when=lambda p: p.end.units != 1,
    ),
    Rule(
        "negative-rate", "error", _CAN_BE_NEGATIVE, ("rate",), None,
        "The output is {activation}, which can be negative, and {loss} takes its logarithm.",
        "Below 0 the loss is NaN, and after one such step the weights are.",
        "End the model in exponential or softplus.",
    ),
    Rule(
        "negative-rate", "warning", _CAN_BE_NEGATIVE, ("log-error",), None,
        "The output is {activation}, which can be negative, and {loss} takes the logarithm of 1 "
        "more.",
        "Every output below 0 counts as 0, with gradient exactly 0.",
        "End the model in softplus, or learn the logarithm of the labels with MeanSquaredError.",
    ),
    Rule(
        "quantiles-differ", "error", None, ("quantile",), None,
        "The outputs are those of QuantileHead({head_quantiles}), and the loss is that of "
        "Quantile({loss_quantiles}).",
        "The head keeps its outputs in rising order, so that the loss cannot move each to its own "
        "quantile.",
        "Give both the same rising quantiles.",
        when=lambda p: _orders_itself(p) and p.end.quantiles != p.loss.quantiles,
    ),
    Rule(
        "quantiles-cross", "warning", ("linear",), ("quantile",), None,
        "The outputs are quantiles of separate units, and in {crossing} of {examples} probe "
        "examples a higher quantile lies below a lower one.",
        "Such a forecast is no distribution: its interval has a negative width.",
        "End the model in QuantileHead.",
        when=lambda p: _several_quantiles(p)
        and not _orders_itself(p)
        and _rising(p)
        and p.evidence is not None
        and p.evidence.crossing > 0,
    ),
    Rule(
        "quantiles-cross", "advice", ("linear",), ("quantile",), None,
        "The outputs are quantiles of separate units, and nothing keeps them in order.",
        "Where a higher quantile lies below a lower one the forecast is no distribution.",
        "End the model in QuantileHead.",
        when=lambda p: _several_quantiles(p)
        and not _orders_itself(p)
        and (p.evidence is None or p.evidence.crossing == 0),
    ),
)  # fmt: skip


def _rising(pairing: Pairing) -> bool:
    quantiles = pairing.loss.quantiles
    return list(quantiles) == sorted(quantiles)
