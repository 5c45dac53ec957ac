"""XLA clusters: parts of a TensorFlow graph that are compiled, where the rest is run op by op.

Keras leaves a training step to TensorFlow's own kernels where there are CPUs only, and they go over
memory once for each operation. A cluster goes over it once or twice. TensorFlow compiles one for a
shape that comes back and interprets it for a shape that does not, so that a last, smaller batch or
sequences of many lengths cost no compilation each.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from keras import backend, ops


def in_graph() -> bool:
    """Whether TensorFlow is making a graph."""
    if backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


@cache
def has_cpus_only() -> bool:
    """Whether TensorFlow sees no accelerator, where a float32 product may be TF32 or bfloat16."""
    import tensorflow as tf

    return {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}


def cluster(function: Callable) -> Callable:
    """`function` of tensors as one cluster of the graph that is being made."""
    import tensorflow as tf

    # TensorFlow rewrites the arithmetic of a graph before it clusters it, and what it has rewritten
    # is in no scope any more: the cluster would fall apart. It leaves this alone.
    whole = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})

    def run(*tensors: Any) -> Any:
        with tf.xla.experimental.jit_scope():
            return whole(*tensors)

    return run


def sum_over(tensor: Any, axis: int) -> Any:
    """Sum over `axis`, which keeps a size of 1.

    XLA on a CPU adds the entries of a row one after the other, and multiplies matrices with all the
    width of the machine.
    """
    from_end = axis - len(tensor.shape)
    if from_end not in (-1, -2) or not (in_graph() and has_cpus_only()):
        return ops.sum(tensor, axis=axis, keepdims=True)

    def product(tensor: Any) -> tuple[Any, Callable]:
        shape = ops.shape(tensor)
        if from_end == -1:
            total = ops.matmul(tensor, ops.ones((shape[axis], 1), tensor.dtype))
        else:
            total = ops.matmul(ops.ones((*shape[:-2], 1, shape[axis]), tensor.dtype), tensor)
        # A cluster repeats the upstream gradient in passing. The product would write it out.
        return total, lambda upstream: ops.broadcast_to(upstream, ops.shape(tensor))

    return ops.custom_gradient(product)(tensor)
