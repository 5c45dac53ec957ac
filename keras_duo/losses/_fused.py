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
    """`function` of tensors (or None), a scalar, whose value and gradient become one cluster."""
    if not _in_graph():
        return function
    import tensorflow as tf

    def clustered(*tensors: Any) -> Any:
        given = [i for i, tensor in enumerate(tensors) if tensor is not None]

        # TensorFlow rewrites the arithmetic of a graph before it clusters it, and what it has
        # rewritten is in no scope any more: the cluster would fall apart. It leaves this one alone.
        @tf.function(autograph=False, experimental_attributes={"_noinline": True})
        def value_and_slopes(*present: Any) -> tuple[Any, Any]:
            arguments: list[Any] = [None] * len(tensors)
            for i, tensor in zip(given, present, strict=True):
                arguments[i] = tensor
            with tf.GradientTape() as tape:
                tape.watch([tensor for tensor in present if tensor.dtype.is_floating])
                value = function(*arguments)
            return value, tape.gradient(value, present)

        @tf.custom_gradient
        def differentiable(*present: Any) -> tuple[Any, Callable]:
            with tf.xla.experimental.jit_scope():
                value, slopes = value_and_slopes(*(_wide(tensor) for tensor in present))

            def gradient(upstream: Any) -> list[Any]:
                return [
                    None if slope is None else ops.cast(upstream * slope, tensor.dtype)
                    for slope, tensor in zip(slopes, present, strict=True)
                ]

            return value, gradient

        return differentiable(*(tensors[i] for i in given))

    return clustered


def sum_over(tensor: Any, axis: int) -> Any:
    """Sum over `axis`, which keeps a size of 1.

    XLA on a CPU adds the entries of a row one after the other, and multiplies matrices with all the
    width of the machine.
    """
    if axis != len(tensor.shape) - 1 or not (_in_graph() and has_cpus_only()):
        return ops.sum(tensor, axis=axis, keepdims=True)

    def product(tensor: Any) -> tuple[Any, Callable]:
        ones = ops.ones((ops.shape(tensor)[axis], 1), tensor.dtype)
        # A cluster repeats the upstream gradient in passing. The product would write it out.
        return ops.matmul(tensor, ones), lambda upstream: ops.broadcast_to(
            upstream, ops.shape(tensor)
        )

    return ops.custom_gradient(product)(tensor)


def mean_over(tensor: Any, axis: int) -> Any:
    """Mean over `axis`, which is dropped."""
    axis %= len(tensor.shape)
    return ops.squeeze(sum_over(tensor, axis), axis) / ops.cast(
        ops.shape(tensor)[axis], tensor.dtype
    )


def _wide(tensor: Any) -> Any:
    # A slope in half precision would vanish before the scale of the loss could save it.
    return (
        ops.cast(tensor, "float32")
        if tensor.dtype.is_floating and tensor.dtype.size < 4
        else tensor
    )


def _in_graph() -> bool:
    if backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


@cache
def has_cpus_only() -> bool:
    """Whether TensorFlow sees no accelerator, where a float32 product may be TF32 or bfloat16."""
    import tensorflow as tf

    return {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}
