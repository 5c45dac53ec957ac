"""Operations with their gradient in closed form, which takes fewer passes over memory.

TensorFlow records each elementary operation and goes back through all of them; here it gets the
gradient as a function.
"""

from collections.abc import Callable
from typing import Any

from keras import backend, ops

from keras_duo._clusters import has_cpus_only
from keras_duo._gradients import with_gradient
from keras_duo.activations._channels import channel_sum


def normalized(x: Any, scale: Any, shift: Any, epsilon: float, centred: bool) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last axis; float32 or wider.

    Without `centred` the mean is taken for 0. `scale` and `shift` have the size of the last axis;
    `shift` may be None.
    """

    def function(rows: Any, scale: Any, *shift: Any) -> tuple[Any, Callable]:
        wide = backend.result_type(rows.dtype, "float32")
        deviation, factor = ops.cast(rows, wide), ops.cast(scale, wide)
        if centred:
            deviation = deviation - _mean(deviation)
        rate = ops.rsqrt(_mean(ops.square(deviation)) + epsilon)
        normal = deviation * rate
        output = normal * factor
        if shift:
            output = output + ops.cast(shift[0], wide)

        def gradient(upstream: Any) -> tuple:
            upstream = ops.cast(upstream, wide)
            by_factor = upstream * normal
            along = upstream * factor - normal * _weighted_mean(by_factor, factor)
            if centred:
                along = along - _weighted_mean(upstream, factor)
            sums = [channel_sum(by_factor, scale)]
            if shift:
                sums.append(channel_sum(upstream, shift[0]))
            return ops.cast(along * rate, rows.dtype), *(ops.cast(s, scale.dtype) for s in sums)

        return ops.cast(output, rows.dtype), gradient

    tensors = [scale] if shift is None else [scale, shift]
    return ops.reshape(with_gradient(function)(_rows(x), *tensors), ops.shape(x))


def mapped(inputs: Any, kernel: Any, bias: Any = None) -> Any:
    """`inputs` W + b; b may be None.

    On rows, because TensorFlow makes one operation of a product of two matrices and a bias.
    """
    columns = kernel.shape[1]

    def function(rows: Any, kernel: Any, *bias: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> tuple:
            # Transposed twice, because TensorFlow on a CPU takes 17 ms for the slopes of a kernel
            # of 1024 x 256 over 4096 rows, and 12.5 ms for those of its transpose.
            slopes = ops.transpose(ops.matmul(ops.transpose(upstream), rows))
            sums = [channel_sum(upstream, b) for b in bias]
            return ops.matmul(upstream, ops.transpose(kernel)), slopes, *sums

        product = ops.matmul(rows, kernel)
        # `ops.add`, which is BiasAdd in TensorFlow: its gradient is faster than that of a sum.
        return (ops.add(product, *bias) if bias else product), gradient

    tall = kernel.shape[0] > columns
    call = with_gradient(function) if tall else lambda *tensors: function(*tensors)[0]
    output = call(_rows(inputs), kernel, *([] if bias is None else [bias]))
    return ops.reshape(output, (*ops.shape(inputs)[:-1], columns))


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
            slopes = ops.matmul(upstream, _transposed(value))
            slopes = scores * (slopes - ops.cast(total, slopes.dtype))
            # Products with a transposed matrix of scores take twice the time of these.
            found = [
                ops.matmul(slopes, key),
                _transposed(ops.matmul(_transposed(query), slopes)),
                _transposed(ops.matmul(_transposed(upstream), scores)),
            ]
            if len(query.shape) > len(key.shape):
                found[1:] = [ops.sum(slope, axis=0) for slope in found[1:]]
            return tuple(found)

        return output, gradient

    return with_gradient(function)(query, key, value)


def attention_scores(query: Any, key: Any, hidden: Any = None) -> Any:
    """softmax(Q K^T - hidden), computed in float32 or wider."""
    products = ops.matmul(query, _transposed(key))
    products = ops.cast(products, backend.result_type(query.dtype, "float32"))
    if hidden is not None:
        products = products - hidden
    return ops.cast(ops.softmax(products), query.dtype)


def _rows(x: Any) -> Any:
    return ops.reshape(x, (-1, x.shape[-1]))


def _mean(rows: Any) -> Any:
    return ops.mean(rows, axis=-1, keepdims=True)


def _weighted_mean(rows: Any, weights: Any) -> Any:
    if not has_cpus_only():  # which would round a product to TF32
        return _mean(rows * weights)
    return ops.matmul(rows, ops.reshape(weights, (-1, 1)) / rows.shape[-1])


def _transposed(matrices: Any) -> Any:
    return ops.swapaxes(matrices, -1, -2)
