"""What is known of the metrics of Keras that read probabilities, decisions or classes."""

import re
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class MetricFacts:
    """What the rules need to know of a metric.

    `kind`: "threshold" compares outputs with a fixed number, "sweep" with many from 0 to 1;
    "argmax" takes the largest class of labels and outputs, "sparse-argmax" of outputs alone;
    "binary-crossentropy" and "crossentropy" read probabilities, or logits with `from_logits`.
    """

    name: str
    kind: str
    threshold: float | None = None
    from_logits: bool = False


# kind: classes of keras.metrics.
_NAMES = {
    "threshold": "BinaryAccuracy BinaryIoU FalseNegatives FalsePositives Precision Recall "
    "TrueNegatives TruePositives",
    "sweep": "AUC PrecisionAtRecall RecallAtPrecision SensitivityAtSpecificity "
    "SpecificityAtSensitivity",
    # With a threshold F1Score and FBetaScore are of the kind "threshold".
    "argmax": "CategoricalAccuracy F1Score FBetaScore OneHotIoU OneHotMeanIoU "
    "TopKCategoricalAccuracy",
    "sparse-argmax": "SparseCategoricalAccuracy SparseTopKCategoricalAccuracy",
    "binary-crossentropy": "BinaryCrossentropy",
    "crossentropy": "CategoricalCrossentropy SparseCategoricalCrossentropy",
}
_KINDS = {
    getattr(keras.metrics, name): kind for kind, names in _NAMES.items() for name in names.split()
}


def _snake(name: str) -> str:
    """The name by which Keras knows a class as a string: "AUC" is "auc", "F1Score" "f1_score"."""
    partly = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", partly).lower()


# Not by `keras.metrics.get`: it makes a metric, and the name of the next one changes with it.
_BY_NAME = {alias: cls for cls in _KINDS for alias in (cls.__name__, _snake(cls.__name__))}
_FUNCTIONS = {
    getattr(keras.metrics, name): cls
    for name, cls in _BY_NAME.items()
    if hasattr(keras.metrics, name) and not isinstance(getattr(keras.metrics, name), type)
}


def metric_facts(metric: Any, units: int | None) -> MetricFacts | None:
    """What is known of one metric as it was passed to `compile`; None where no rule is about it.

    `units` is the size of the last axis of the output, by which Keras resolves "accuracy".
    """
    if isinstance(metric, str):
        if metric.lower() in ("accuracy", "acc"):
            # With several units the labels decide between the argmax kinds.
            if units is None:
                return None
            return (
                MetricFacts(metric, "threshold", 0.5)
                if units == 1
                else MetricFacts(metric, "argmax")
            )
        metric = _BY_NAME.get(metric)
    elif not isinstance(metric, type | keras.metrics.Metric):
        metric = _FUNCTIONS.get(metric) if callable(metric) else None
    plain = isinstance(metric, type)
    kind = _KINDS.get(metric if plain else type(metric))
    if kind is None:
        return None
    settings = {} if plain else metric.get_config()
    if settings.get("top_k") is not None:  # in place of a threshold
        return None
    threshold = settings.get("threshold", settings.get("thresholds"))
    if kind == "argmax" and threshold is not None:
        kind = "threshold"
    if kind == "threshold" and threshold is None:
        threshold = 0.5
    if isinstance(threshold, list | tuple):
        threshold = threshold[0] if len(threshold) == 1 else None
    name = metric.__name__ if plain else type(metric).__name__
    return MetricFacts(name, kind, threshold, bool(settings.get("from_logits", False)))
