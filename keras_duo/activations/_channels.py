"""Products with a parameter for each channel, and the sums over all other axes in their gradient.

TensorFlow sums over leading axes in two thirds of the time, measured at (8192, 512), where it is
asked to by `BiasAddGrad`, the gradient of a bias.
"""

from typing import Any

import keras
from keras import ops


def scaled(x: Any, factor: Any) -> Any:
    """X * factor; `factor` broadcasts to the shape of `x`."""
    if not _on_last_axis_of_tensorflow(x, factor):
        return x * factor

    def product(x: Any, factor: Any) -> tuple[Any, Any]:
        return x * factor, lambda upstream: (upstream * factor, channel_sum(upstream * x, factor))

    return ops.custom_gradient(product)(x, factor)


def channel_sum(x: Any, parameter: Any) -> Any:
    """The sum of `x` over the axes along which `parameter` was broadcast to it."""
    if _on_last_axis_of_tensorflow(x, parameter):
        import tensorflow as tf

        return tf.raw_ops.BiasAddGrad(out_backprop=tf.reshape(x, (-1, parameter.shape[0])))
    missing = len(x.shape) - len(parameter.shape)
    axes = [i for i in range(len(x.shape)) if i < missing or parameter.shape[i - missing] == 1]
    return ops.reshape(ops.sum(x, axis=axes), parameter.shape) if axes else x


def _on_last_axis_of_tensorflow(x: Any, parameter: Any) -> bool:
    on_last_axis = len(parameter.shape) == 1 < len(x.shape)
    return on_last_axis and keras.backend.backend() == "tensorflow"
