"""Rules about the metrics of an output: the training is right, the number that is shown is not."""

from keras_duo.check._rule import Pairing, Rule


def _is(pairing: Pairing, *kinds: str) -> bool:
    return pairing.metric is not None and pairing.metric.kind in kinds


def _reads_logits(pairing: Pairing) -> bool:
    return pairing.metric is not None and pairing.metric.from_logits


def _threshold_within(pairing: Pairing) -> bool:
    threshold = _threshold(pairing)
    return threshold is not None and 0 < threshold < 1


def _threshold(pairing: Pairing) -> float | None:
    return None if pairing.metric is None else pairing.metric.threshold


def _several_units(pairing: Pairing) -> bool:
    return pairing.shape[-1] not in (None, 1)


def _chosen_by_keras(pairing: Pairing) -> bool:
    """Whether it is "accuracy", which becomes the kind that the shape of the labels asks for."""
    return pairing.metric is not None and pairing.metric.name.lower() in ("accuracy", "acc")


_AT_ZERO = "Use threshold=0.0, for example keras.metrics.BinaryAccuracy(threshold=0.0)."
_FROM_0_TO_1 = (
    "All outputs above 1 are one and the same to it, and all below 0: it cannot rank them."
)

METRIC_RULES = (
    Rule(
        "metric-threshold", "warning", ("linear",), ("binary",), True,
        "The outputs are logits, and {metric} compares them with {threshold:g}.",
        "An output of {threshold:g} is a probability of {p_threshold:.3f}: outputs between 0 and "
        "{threshold:g}, probabilities from 0.5 to {p_threshold:.3f}, count as negative.",
        _AT_ZERO,
        when=lambda p: _is(p, "threshold") and _threshold_within(p),
    ),
    Rule(
        "metric-threshold", "warning", ("linear",), ("hinge",), None,
        "The outputs are scores around 0, and {metric} compares them with {threshold:g}.",
        "Outputs between 0 and {threshold:g}, which are on the positive side, count as negative.",
        _AT_ZERO,
        when=lambda p: _is(p, "threshold") and _threshold_within(p),
    ),
    Rule(
        "metric-threshold", "warning", ("sigmoid", "softmax"), None, None,
        "The outputs are probabilities, and {metric} compares them with {threshold:g}.",
        "All of them lie on the same side: it calls every example the same.",
        "Use threshold=0.5.",
        when=lambda p: _is(p, "threshold")
        and _threshold(p) is not None
        and not _threshold_within(p),
    ),
    Rule(
        "metric-threshold", "warning", ("linear",), ("binary", "categorical"), True,
        "The outputs are logits, and the thresholds of {metric} lie between 0 and 1.",
        _FROM_0_TO_1, "Use AUC(from_logits=True), or end the model in a {partner}.",
        when=lambda p: _is(p, "sweep") and not _reads_logits(p),
    ),
    Rule(
        "metric-threshold", "warning", ("linear",), ("hinge",), None,
        "The outputs are scores, and the thresholds of {metric} lie between 0 and 1.",
        _FROM_0_TO_1, "Use AUC(from_logits=True), which maps them to [0, 1] in their order.",
        when=lambda p: _is(p, "sweep") and not _reads_logits(p),
    ),
    Rule(
        "metric-from-logits", "warning", ("linear",), ("binary", "categorical"), True,
        "The outputs are logits, and the metric {metric} expects probabilities.",
        "It clips the logits to [0, 1]: the number is not the crossentropy.",
        "Pass the metric as an instance with from_logits=True.",
        when=lambda p: _is(p, "binary-crossentropy", "crossentropy") and not _reads_logits(p),
    ),
    Rule(
        "metric-from-logits", "warning", ("sigmoid", "softmax"), None, None,
        "The outputs are probabilities, and the metric {metric} has from_logits=True.",
        "It applies a second activation to them: the number is not the crossentropy.",
        "Pass the metric with from_logits=False.",
        when=lambda p: _is(p, "binary-crossentropy", "crossentropy") and _reads_logits(p),
    ),
    Rule(
        "metric-one-unit", "warning", None, None, None,
        "{metric} takes the largest of the units, and there is one.",
        "It calls every example the same class: the number does not depend on the output.",
        "Use BinaryAccuracy, or F1Score with threshold=0.5.",
        when=lambda p: _is(p, "argmax", "sparse-argmax") and p.shape[-1] == 1,
    ),
    Rule(
        "metric-multi-label", "warning", None, ("binary",), None,
        "Several labels of an example are 1, and {metric} takes the largest unit alone.",
        "It counts an example as right if the largest output is the first of its labels.",
        "Use BinaryAccuracy, or F1Score(average='macro', threshold=0.5).",
        when=lambda p: _is(p, "argmax") and _several_units(p),
        codings=("multi-hot",),
    ),
    Rule(
        "metric-multi-label", "advice", None, ("binary",), None,
        "{loss} takes the units for independent, and {metric} takes the largest one alone.",
        "For several labels an example it counts one of them. For one label an example it is "
        "right.",
        "For several labels use BinaryAccuracy, or F1Score(average='macro', threshold=0.5).",
        when=lambda p: _is(p, "argmax") and _several_units(p) and p.labels is None,
    ),
    Rule(
        "metric-labels", "warning", None, None, None,
        "The labels are -1 and 1, and {metric} expects 0 and 1.",
        "Its decisions are 0 and 1: a label of -1 is never met, however right the output is.",
        "Use a metric such as Hinge, or labels of 0 and 1.",
        when=lambda p: _is(p, "threshold", "sweep"),
        codings=("signs",),
    ),
    Rule(
        "metric-labels", "warning", None, None, None,
        "The labels are class ids, and {metric} expects one-hot labels.",
        "It takes the largest of a single number: class 0 for every example.",
        "Use SparseCategoricalAccuracy, or metrics=['accuracy'].",
        when=lambda p: _is(p, "argmax")
        and not _chosen_by_keras(p)
        and p.layout == "per group"
        and _several_units(p),
    ),
    Rule(
        "metric-labels", "error", None, None, None,
        "The labels are one-hot, and {metric} expects class ids.",
        "It raises, because the shapes differ.",
        "Use CategoricalAccuracy, or metrics=['accuracy'].",
        when=lambda p: _is(p, "sparse-argmax") and p.layout == "per unit" and _several_units(p),
    ),
)  # fmt: skip
