"""Gradients on whichever backend Keras runs."""

from collections.abc import Callable
from typing import Any

import keras


def gradients(function: Callable[[list], Any], values: list) -> list | None:
    """The gradient of a scalar function of tensors with respect to each; None on other backends.

    On TensorFlow the function gets the very tensors that it is given, with all that Keras keeps
    beside them. A tensor that the function does not depend on has the gradient None, or zeros.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            value = function(values)
        return tape.gradient(value, values)
    if backend == "jax":
        import jax

        return jax.grad(function)(values)
    return None


def is_zero(gradient: Any) -> bool:
    """Whether a gradient is exactly zero everywhere, or there is none."""
    if gradient is None:
        return True
    dense = keras.ops.convert_to_tensor(gradient)  # TensorFlow's may be a set of slices
    return not bool(keras.ops.any(keras.ops.not_equal(dense, 0)))
