"""From what a model puts out to logits, in float32 or wider.

Classification losses are computed from logits alone. Where the model ends in a sigmoid or softmax,
the logits that Keras stored beside its output are taken back; without them they are the logarithms
of the probabilities, which are finite from the smallest normal number up.
"""

import warnings
from typing import Any

import numpy as np
from keras import backend, ops


def binary_logits(y_pred: Any, from_logits: bool) -> Any:
    """log(p / (1 - p)) of independent labels, elementwise."""
    scores, are_logits = _scores(y_pred, from_logits, "sigmoid")
    if are_logits:
        return scores
    return log_of(scores) - log_of(1.0 - scores)


def categorical_logits(y_pred: Any, from_logits: bool) -> Any:
    """Log-probabilities of exclusive classes, up to a constant for each example."""
    scores, are_logits = _scores(y_pred, from_logits, "softmax")
    return scores if are_logits else log_of(scores)


def _scores(y_pred: Any, from_logits: bool, activation: str) -> tuple[Any, bool]:
    cached = getattr(y_pred, "_keras_logits", None)
    if cached is not None and from_logits:
        warnings.warn(
            f"`from_logits=True`, but the model already ends in a {activation} or its like. Its "
            f"input is taken as the logits. Set `from_logits=False`, or drop the {activation}.",
            stacklevel=2,
        )
    return wide_float(y_pred if cached is None else cached), from_logits or cached is not None


def wide_float(x: Any) -> Any:
    """A tensor in float32 or wider."""
    x = ops.convert_to_tensor(x)
    return ops.cast(x, backend.result_type(backend.standardize_dtype(x.dtype), "float32"))


def log_of(probability: Any) -> Any:
    """Logarithm, of 0 that of the smallest normal number; the gradient there is 0."""
    return ops.log(ops.maximum(probability, tiny_of(probability)))


def tiny_of(x: Any) -> float:
    """The smallest normal number of the dtype of a tensor."""
    return float(np.finfo(backend.standardize_dtype(x.dtype)).tiny)
