"""What goes into a GAN: batches of real examples, and labels, after a check that they fit."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_duo._validate import may_be_equal


def batch_of(gan: Any, data: Any) -> tuple[Any, Any]:
    """The real examples and the labels (None: there are none) in what `fit` hands out."""
    real, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is not None:
        raise ValueError("`sample_weight` must be left out: a GAN weights all examples alike.")
    if not hasattr(real, "shape") or not may_be_equal(real.shape[1:], gan.example_shape):
        raise ValueError(
            "`x` must hold what the generator makes. Received: "
            f"x.shape={getattr(real, 'shape', None)}, generator output {gan.example_shape}"
        )
    if gan.conditional and labels is None:
        raise ValueError("`y` must be given: the networks take labels. Received: y=None")
    if labels is not None and not gan.conditional:
        raise ValueError(
            f"`y` must be left out: the networks take no labels. Received: y={labels!r}"
        )
    return ops.cast(real, gan.compute_dtype), labels


def one_each(gan: Any, labels: Any, n: int) -> Any:
    """`n` labels to generate from; None where the generator takes none."""
    if not gan.conditional:
        if labels is not None:
            raise ValueError(
                f"`labels` must be left out: the generator takes none. Received: labels={labels!r}"
            )
        return None
    if labels is None:
        raise ValueError("`labels` must be given: the generator takes labels. Received: None")
    labels = np.asarray(labels)
    if not labels.ndim:
        labels = np.full(n, labels)
    if len(labels) != n:
        raise ValueError(
            "`labels` must hold one label for each example, or be one for all. "
            f"Received: n={n}, labels.shape={labels.shape}"
        )
    return labels
