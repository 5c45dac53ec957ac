"""Labels and raw scores, of which the adversarial losses are made."""

import warnings
from typing import Any

from keras import ops

from keras_duo._validate import aligned
from keras_duo.losses._logits import wide_float


def labelled(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Labels and scores of one shape. A label outside [0, 1] becomes NaN, and so does its loss."""
    score = raw_score(y_pred)
    label, score = aligned(ops.cast(ops.convert_to_tensor(y_true), score.dtype), score)
    known = ops.logical_and(label >= 0, label <= 1)
    return ops.where(known, label, float("nan")), score


def raw_score(y_pred: Any) -> Any:
    """The raw score in float32 or wider, also where it has passed a sigmoid that Keras knows of."""
    cached = getattr(y_pred, "_keras_logits", None)
    if cached is not None:
        warnings.warn(
            "An adversarial loss takes raw scores, but the discriminator ends in a sigmoid or its "
            "like. Its input is taken as the score. Drop the sigmoid.",
            stacklevel=2,
        )
    return wide_float(y_pred if cached is None else cached)


def mixed(label: Any, real: Any, fake: Any) -> Any:
    """The values of real and fake scores in the proportion of the label, over the last axis."""
    return ops.mean(label * real + (1.0 - label) * fake, axis=-1)
