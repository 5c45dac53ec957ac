"""The activations as pure functions of the input and of their parameters.

The arithmetic is float32 or wider; the value has the dtype of the input. Parameters broadcast to
the shape of the input, never the input to theirs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_duo.activations._channels import channel_sum, scaled


def learnable_activation(x: Any, scale: Any, shift: Any, activation: Callable = ops.relu) -> Any:
    """Scale * activation(x) + shift, elementwise; `scale` and `shift` broadcast to `x`.

    Example:
        >>> from keras_duo.activations import learnable_activation
        >>> [float(v) for v in learnable_activation([-1.0, 2.0], 0.5, 1.0)]
        [1.0, 2.0]
    """
    y, scale, shift, dtype = _in_float32(activation(_as_float(x)), scale=scale, shift=shift)
    # `ops.add` and not `+`: it knows a bias, whose gradient TensorFlow sums faster.
    return ops.cast(ops.add(scaled(y, scale), shift), dtype)


def swish(x: Any, beta: Any = 1.0) -> Any:
    """X * sigmoid(beta * x), elementwise; `beta` broadcasts to `x`.

    `beta` = 1 is silu, 0 is x / 2, and the limit of a large one is relu.

    Example:
        >>> from keras_duo.activations import swish
        >>> [round(float(v), 4) for v in swish([-1.0, 2.0], 1.0)]
        [-0.2689, 1.7616]
    """
    x, beta, dtype = _in_float32(x, beta=beta)
    return ops.cast(x * ops.sigmoid(scaled(x, beta)), dtype)


def acon(x: Any, p1: Any = 1.0, p2: Any = 0.0, beta: Any = 1.0) -> Any:
    """(p1 - p2) x * sigmoid(beta (p1 - p2) x) + p2 x, elementwise: a smooth max(p1 x, p2 x).

    The larger `beta`, the closer it is to the maximum; at 0 it is the mean of the two lines.

    Example:
        >>> from keras_duo.activations import acon
        >>> [round(float(v), 4) for v in acon([-1.0, 2.0], 1.0, 0.1, beta=100.0)]
        [-0.1, 2.0]
    """
    x, p1, p2, beta, dtype = _in_float32(x, p1=p1, p2=p2, beta=beta)
    gate = ops.sigmoid(scaled(x, beta * (p1 - p2)))
    return ops.cast(x * ops.add(scaled(gate, p1 - p2), p2), dtype)


def meta_acon(
    x: Any,
    p1: Any,
    p2: Any,
    reduce_kernel: Any,
    expand_kernel: Any,
    axis: int = -1,
    mask: Any = None,
) -> Any:
    """`acon` with beta = sigmoid(mean(x) @ reduce_kernel @ expand_kernel), one for each channel.

    The mean is over all axes but the first and the channel axis, and over what `mask` admits, whose
    axes are the first of `x`. `p1` and `p2` broadcast to `x`.

    Example:
        >>> import numpy as np
        >>> from keras_duo.activations import meta_acon
        >>> y = meta_acon([[1.0, -2.0]], 1.0, 0.0, np.zeros((2, 1)), np.zeros((1, 2)))
        >>> [round(float(v), 4) for v in y[0]]  # beta = 1/2
        [0.6225, -0.5379]
    """
    return acon(x, p1, p2, beta_of(x, reduce_kernel, expand_kernel, axis, mask))


def beta_of(x: Any, reduce_kernel: Any, expand_kernel: Any, axis: int, mask: Any) -> Any:
    """The beta of `meta_acon`."""
    x, _ = _in_float32(x)
    reduce_kernel, expand_kernel = (
        ops.cast(reduce_kernel, x.dtype),
        ops.cast(expand_kernel, x.dtype),
    )
    rank = len(x.shape)
    others = [i for i in range(1, rank) if i != axis % rank]
    context = ops.matmul(ops.matmul(_mean(x, others, mask), reduce_kernel), expand_kernel)
    return ops.expand_dims(ops.sigmoid(context), others) if others else ops.sigmoid(context)


def snake(x: Any, frequency: Any = 1.0) -> Any:
    """X + sin(frequency * x)^2 / frequency, elementwise; `frequency` broadcasts to `x`.

    At `frequency` = 0 it is the limit x, with the limit x^2 as gradient for the frequency.

    Example:
        >>> from keras_duo.activations import snake
        >>> [round(float(v), 4) for v in snake([-1.0, 2.0], 0.5)]
        [-0.5403, 3.4161]
    """
    x, frequency, dtype = _in_float32(x, frequency=frequency)
    # No nearer to 0 than this, where the square of a sine is a number and x + frequency * x^2
    # rounds to x. The gradient passes as if nothing had been moved.
    nearest = 1e-12 if keras.backend.standardize_dtype(x.dtype) == "float32" else 1e-24
    target = ops.cast(ops.where(frequency < 0, -nearest, nearest), x.dtype)
    moved = ops.where(ops.abs(frequency) < nearest, target, frequency)
    frequency = frequency + ops.stop_gradient(moved - frequency)
    wave = ops.sin(scaled(x, frequency))
    return ops.cast(x + scaled(wave * wave, 1 / frequency), dtype)


def rational(x: Any, numerator: Any, denominator: Any) -> Any:
    """P(x) / (1 + |R(x)|), elementwise: P = sum_(j >= 0) a_j x^j, R = sum_(k >= 1) b_k x^k.

    `numerator` holds a_0, a_1, ... on its first axis and `denominator` b_1, b_2, ...; the axes
    behind it broadcast to `x`.

    Example:
        >>> from keras_duo.activations import rational
        >>> [round(float(v), 4) for v in rational([-1.0, 2.0], [0.0, 1.0, 1.0], [0.0, 1.0])]
        [0.0, 1.2]
    """
    x, numerator, denominator, dtype = _in_float32(
        x, leading=1, numerator=numerator, denominator=denominator
    )
    coefficients = (*ops.unstack(numerator), *ops.unstack(denominator))
    return ops.cast(quotient(numerator.shape[0])(x, *coefficients), dtype)


def quotient(count: int, unit: float = 1.0) -> Callable:
    """`rational` of x / unit, `count` coefficients of the numerator, and those of the denominator.

    They have no common axis, because it would cost a copy of each of them to take them apart again.
    """

    def value_and_gradient(x: Any, *coefficients: Any) -> tuple[Any, Callable]:
        a, b = coefficients[:count], coefficients[count:]
        # Not 0 where all b are 0: the slope of |R| is 0 there, and they would stay at 0.
        inner = x * _polynomial(x, b) + 1e-30
        bottom = 1 + ops.abs(inner)
        value = _polynomial(x, a) / bottom

        def gradient(upstream: Any) -> tuple:
            upper = upstream / bottom
            lower = -value * ops.sign(inner)
            slope = _polynomial(x, [i * c for i, c in enumerate(a)][1:])
            inner_slope = _polynomial(x, [k * c for k, c in enumerate(b, 1)])
            powers = _powers(x, upper, len(a)) + _powers(x, upper * lower * x, len(b))
            sums = [channel_sum(power, c) for power, c in zip(powers, coefficients, strict=True)]
            return (upper * (slope + lower * inner_slope), *sums)

        return value, gradient

    def call(x: Any, *coefficients: Any) -> Any:
        x = _as_float(x)
        wide = ops.cast(x, keras.backend.result_type(x.dtype, "float32")) / unit
        if keras.backend.backend() != "tensorflow":
            return ops.cast(value_and_gradient(wide, *coefficients)[0], x.dtype)
        # Op by op, value and gradient take three quarters of the time of automatic differentiation.
        return ops.cast(ops.custom_gradient(value_and_gradient)(wide, *coefficients), x.dtype)

    return call


def _polynomial(x: Any, coefficients: Sequence) -> Any:
    *lower, value = coefficients
    for coefficient in reversed(lower):
        value = value * x + coefficient
    return value


def _powers(x: Any, first: Any, count: int) -> list[Any]:
    """First, first * x, first * x^2, ..."""
    powers = [first]
    while len(powers) < count:
        powers.append(powers[-1] * x)
    return powers


def _mean(x: Any, axes: list[int], mask: Any) -> Any:
    if not axes:
        return x
    if mask is None:
        return ops.mean(x, axis=axes)
    mask = ops.expand_dims(ops.cast(mask, "bool"), list(range(len(mask.shape), len(x.shape))))
    share = ops.mean(ops.cast(mask, x.dtype), axis=axes)
    # Where nothing counts, the mean is 0.
    return ops.mean(ops.where(mask, x, 0.0), axis=axes) / ops.maximum(share, 1e-30)


def _in_float32(x: Any, leading: int = 0, **parameters: Any) -> list[Any]:
    """Input and parameters in float32 or wider, after a check of their shapes, and the dtype of x.

    `leading` axes of the parameters do not take part in the broadcasting.
    """
    x = _as_float(x)
    wide = keras.backend.result_type(x.dtype, "float32")
    tensors = [ops.cast(parameter, wide) for parameter in parameters.values()]
    for name, tensor in zip(parameters, tensors, strict=True):
        own, shape = tuple(tensor.shape)[leading:], tuple(x.shape)
        if len(own) > len(shape) or any(
            size not in (1, None) and full not in (size, None)
            for size, full in zip(reversed(own), reversed(shape), strict=False)
        ):
            raise ValueError(
                f"`{name}` must broadcast to the shape of `x`. "
                f"Received: {name}.shape={tuple(tensor.shape)}, x.shape={shape}"
            )
    return [ops.cast(x, wide), *tensors, x.dtype]


def _as_float(x: Any) -> Any:
    x = ops.convert_to_tensor(x)
    if keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype)):
        return x
    return ops.cast(x, keras.config.floatx())
