"""Operations with their gradient in closed form, which takes fewer passes over memory.

TensorFlow records each elementary operation and goes back through all of them; here it gets the
gradient as a function.
"""

from collections.abc import Callable
from typing import Any

from keras import backend, ops

from keras_duo._gradients import with_gradient


def normalized(x: Any, scale: Any, shift: Any, epsilon: float, centred: bool) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last axis; float32 or wider.

    Without `centred` the mean is taken for 0. `scale` and `shift` have the size of the last axis;
    `shift` may be None.
    """

    def function(x: Any, scale: Any, *shift: Any) -> tuple[Any, Callable]:
        wide = backend.result_type(x.dtype, "float32")
        deviation = ops.cast(x, wide)
        if centred:
            deviation = deviation - _mean(deviation)
        rate = ops.rsqrt(_mean(ops.square(deviation)) + epsilon)
        normal = deviation * rate
        output = normal * ops.cast(scale, wide)
        if shift:
            output = output + ops.cast(shift[0], wide)

        def gradient(upstream: Any) -> tuple:
            upstream = ops.cast(upstream, wide)
            slope = upstream * ops.cast(scale, wide)
            along = slope - normal * _mean(slope * normal)
            if centred:
                along = along - _mean(slope)
            sums = [_column_sums(upstream * normal)]
            if shift:
                sums.append(_column_sums(upstream))
            return ops.cast(along * rate, x.dtype), *(ops.cast(s, scale.dtype) for s in sums)

        return ops.cast(output, x.dtype), gradient

    return with_gradient(function)(x, scale, *([] if shift is None else [shift]))


def mapped(inputs: Any, kernel: Any) -> Any:
    """`inputs` W, for a W with more rows than columns."""

    def function(inputs: Any, kernel: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> tuple:
            # Transposed twice, because TensorFlow on a CPU takes 17 ms for the slopes of a kernel
            # of 1024 x 256 over 4096 rows, and 12.5 ms for those of its transpose.
            rows = ops.reshape(inputs, (-1, kernel.shape[0]))
            slopes = ops.matmul(ops.transpose(ops.reshape(upstream, (-1, kernel.shape[1]))), rows)
            return ops.matmul(upstream, ops.transpose(kernel)), ops.transpose(slopes)

        return ops.matmul(inputs, kernel), gradient

    return with_gradient(function)(inputs, kernel)


def attended(query: Any, key: Any, value: Any, hidden: Any = None) -> Any:
    """softmax(Q K^T - hidden) V; Q may have an axis in front that K and V have not."""

    def function(query: Any, key: Any, value: Any) -> tuple[Any, Callable]:
        scores = attention_scores(query, key, hidden)
        output = ops.matmul(scores, value)

        def gradient(upstream: Any) -> tuple:
            # The sum over a row of scores times their gradient is that of output times upstream,
            # which has a column for each entry of a head, and not for each key.
            wide = backend.result_type(query.dtype, "float32")
            along = ops.cast(upstream, wide) * ops.cast(output, wide)
            total = ops.sum(along, axis=-1, keepdims=True)
            slopes = ops.matmul(upstream, ops.swapaxes(value, -1, -2))
            slopes = scores * (slopes - ops.cast(total, slopes.dtype))
            found = [
                ops.matmul(slopes, key),
                ops.matmul(ops.swapaxes(slopes, -1, -2), query),
                ops.matmul(ops.swapaxes(scores, -1, -2), upstream),
            ]
            if len(query.shape) > len(key.shape):
                found[1:] = [ops.sum(slope, axis=0) for slope in found[1:]]
            return tuple(found)

        return output, gradient

    return with_gradient(function)(query, key, value)


def attention_scores(query: Any, key: Any, hidden: Any = None) -> Any:
    """softmax(Q K^T - hidden), computed in float32 or wider."""
    products = ops.matmul(query, ops.swapaxes(key, -1, -2))
    products = ops.cast(products, backend.result_type(query.dtype, "float32"))
    if hidden is not None:
        products = products - hidden
    return ops.cast(ops.softmax(products), query.dtype)


def _mean(x: Any) -> Any:
    return ops.mean(x, axis=-1, keepdims=True)


def _column_sums(x: Any) -> Any:
    return ops.sum(ops.reshape(x, (-1, x.shape[-1])), axis=0)
