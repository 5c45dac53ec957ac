"""The fast path: a loss and its gradient as one XLA cluster of a TensorFlow graph.

Keras leaves a training step to TensorFlow's own kernels where there are CPUs only, and a loss is
then a dozen passes over memory. As a cluster it is two or three. TensorFlow compiles a cluster for
a shape that comes back and interprets it for one that does not, so that a last, smaller batch or
sequences of many lengths cost no compilation each. Eager calls and other backends take the same
operations one by one; JAX compiles the whole step anyway.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from keras import backend, ops


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of tensors (or None), whose value and gradient become one cluster."""
    if not _in_graph():
        return function
    import tensorflow as tf

    def clustered(*tensors: Any) -> Any:
        given = [i for i, tensor in enumerate(tensors) if tensor is not None]

        @tf.custom_gradient
        def with_gradient(*present: Any) -> tuple[Any, Callable]:
            arguments: list[Any] = [None] * len(tensors)
            for i, tensor in zip(given, present, strict=True):
                arguments[i] = tensor
            # Persistent, for whoever asks for the gradient of one loss twice, as MultiTask does.
            with tf.xla.experimental.jit_scope(), tf.GradientTape(persistent=True) as tape:
                tape.watch([tensor for tensor in present if tensor.dtype.is_floating])
                value = function(*arguments)

            def gradient(upstream: Any) -> Any:
                with tf.xla.experimental.jit_scope():
                    return tape.gradient(value, present, output_gradients=upstream)

            return value, gradient

        return with_gradient(*(tensors[i] for i in given))

    return clustered


def sum_over(tensor: Any, axis: int) -> Any:
    """Sum over `axis`, which keeps a size of 1.

    XLA on a CPU adds the entries of a row one after the other, and multiplies matrices with all the
    width of the machine.
    """
    if axis == len(tensor.shape) - 1 and _in_graph() and _has_cpus_only():
        return ops.matmul(tensor, ops.ones((ops.shape(tensor)[axis], 1), tensor.dtype))
    return ops.sum(tensor, axis=axis, keepdims=True)


def _in_graph() -> bool:
    if backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


@cache
def _has_cpus_only() -> bool:
    # Elsewhere a product of float32 may be computed in TF32 or bfloat16.
    import tensorflow as tf

    return {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}
