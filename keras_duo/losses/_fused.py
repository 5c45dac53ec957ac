"""The fast path: a loss and its gradient as one XLA cluster of a TensorFlow graph.

Op by op, a loss is a dozen passes over memory. As a cluster it is two or three. Eager calls and
other backends take the same operations one by one; JAX compiles the whole step anyway.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_duo._clusters import cluster, has_cpus_only, in_graph, sum_over
from keras_duo._gradients import with_gradient


def fused(function: Callable[..., Any], predictions: tuple[int, ...]) -> Callable[..., Any]:
    """`function` of tensors (or None), a scalar, whose value and gradient become one cluster.

    The gradient there is that by `predictions`, places among the tensors: a cluster computes all
    of its outputs, whoever asks for them. That by labels and weights is a cluster of its own, and
    there is none where nobody watches them.
    """
    if not in_graph():
        return function
    import tensorflow as tf

    def clustered(*tensors: Any) -> Any:
        # Of this graph also where they come from outside of a branch of `tf.cond`.
        tensors = tuple(x if x is None else tf.identity(x) for x in tensors)
        given = [i for i, tensor in enumerate(tensors) if tensor is not None]
        floats = [i for i in given if tensors[i].dtype.is_floating]

        def run(by: list[int]) -> tuple[Any, list[Any]]:
            """The value, and its slopes by the tensors in these places."""

            def value_and_slopes(*present: Any) -> tuple[Any, list[Any]]:
                arguments: list[Any] = [None] * len(tensors)
                for i, tensor in zip(given, present, strict=True):
                    arguments[i] = tensor
                with tf.GradientTape() as tape:
                    tape.watch([arguments[i] for i in by])
                    value = function(*arguments)
                return value, tape.gradient(value, [arguments[i] for i in by])

            return cluster(value_and_slopes)(*(_wide(tensors[i]) for i in given))

        def differentiable(by: list[int], value: Any, slopes: Callable[[], list[Any]]) -> Any:
            @tf.custom_gradient
            def differentiated(*watched: Any) -> tuple[Any, Callable]:
                def gradient(upstream: Any) -> list[Any]:
                    # TensorFlow sees by itself that a factor is 1 only where it knows all shapes.
                    is_one = tf.get_static_value(upstream) == 1
                    return [
                        None
                        if slope is None
                        else ops.cast(slope if is_one else upstream * slope, tensor.dtype)
                        for slope, tensor in zip(slopes(), watched, strict=True)
                    ]

                return tf.identity(value), gradient

            return differentiated(*(tensors[i] for i in by))

        leading = [i for i in floats if i in predictions]
        others = [i for i in floats if i not in predictions]
        value, found = run(leading)
        if leading:
            value = differentiable(leading, value, lambda: found)
        if others:
            # A tape asks for these slopes only if it watches one of the tensors.
            nothing = tf.zeros((), value.dtype)
            value = value + differentiable(others, nothing, lambda: run(others)[1])
        return value

    return clustered


def sum_over_pixels(tensor: Any, pixels: list[int]) -> Any:
    """Sum over the axes of pixels.

    In two stages where the classes come last: rows of pixels first, each as one long vector. A few
    classes alone do not fill the width of the machine.
    """
    if len(pixels) < 2 or pixels[-1] == len(tensor.shape) - 1:
        return ops.sum(tensor, axis=pixels)
    batch, *_, columns, classes = ops.shape(tensor)
    rows = sum_over(ops.reshape(tensor, (batch, -1, columns * classes)), 1)
    return ops.sum(ops.reshape(rows, (batch, columns, classes)), axis=1)


def condensed(values: Any) -> Any:
    """Fewer values with the same mean: of each 256 that follow one another, and of the rest.

    XLA on a CPU adds the values of a large batch one after the other, where they are computed.
    """
    if not (in_graph() and has_cpus_only()):
        return values
    values = ops.reshape(values, (-1,))
    count, width = ops.shape(values)[0], 256
    rest = count % width
    rows = ops.reshape(values[: count - rest], (-1, width))
    sums = ops.append(sum_over(rows, 1), ops.sum(values[count - rest :]))
    lengths = (ops.cast(length, values.dtype) for length in (ops.shape(sums)[0], count))
    return sums * ops.divide_no_nan(*lengths)


def half_mean_square(tensor: Any) -> Any:
    """Half the mean of the squares, 0 of none: two passes over memory in a TensorFlow graph."""
    import tensorflow as tf

    def value_and_gradient(tensor: Any) -> tuple[Any, Callable]:
        share = tf.math.reciprocal_no_nan(tf.cast(tf.size(tensor), tensor.dtype))
        return tf.nn.l2_loss(tensor) * share, lambda upstream: tensor * (upstream * share)

    return with_gradient(value_and_gradient)(tensor)


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
