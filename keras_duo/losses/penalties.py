"""Penalties on the gradient of a critic with respect to what it sees.

They are terms beside a loss, not losses of labels and outputs: a critic and its inputs go in, a
scalar comes out, without the factor in front (lambda, gamma). They belong outside any loss scaling.
"""

from collections.abc import Callable
from typing import Annotated, Any

import keras
from keras import backend, ops

from keras_duo._validate import Rule, flag, integer, number, validated
from keras_duo.losses._logits import tiny_of, wide_float


def _known_seed(value: Any) -> Any:
    if value is None or isinstance(value, keras.random.SeedGenerator):
        return value
    return integer().convert(value)


Seed = Annotated[Any, Rule("be None, an integer or a keras.random.SeedGenerator", _known_seed)]


@validated
def gradient_penalty(
    critic: Callable,
    real: Any,
    fake: Any,
    *,
    target: Annotated[float, number(at_least=0)] = 1.0,
    one_sided: Annotated[bool, flag()] = False,
    seed: Seed = None,
) -> Any:
    """E[(||grad D(x)|| - target)^2] at points x between a real and a fake example each.

    The norm runs over all axes of one example. Multiply by lambda, which is 10 in the paper.

    Args:
        critic: From (batch, ...) to scores, each example on its own: no BatchNormalization. Where
            an example has several scores, their sum is differentiated. A Keras model is called
            without `training`: pass `lambda x: critic(x, training=True)` where that counts.
        real: Real examples, (batch, ...).
        fake: Fake examples of the same shape. Stop the gradient to the generator yourself.
        target: The norm that costs nothing; >= 0.
        one_sided: Whether only a norm above `target` costs.
        seed: Where on the line between the two x lies, uniformly: a `keras.random.SeedGenerator`
            for a new draw at each step of a compiled step too, an integer for the same draw at each
            call, None for Keras' global generator.

    Returns:
        A scalar in float32 or wider, with a gradient with respect to the weights of the critic that
        is finite also where the inner gradient is 0.

    Raises:
        ValueError: If an argument is out of range, or the shapes differ.
        NotImplementedError: On a backend other than TensorFlow and JAX.

    Source:
        Gulrajani et al., Improved Training of Wasserstein GANs, 2017, arXiv:1704.00028.

    Example:
        >>> import numpy as np
        >>> from keras_duo.losses import gradient_penalty
        >>> float(gradient_penalty(lambda x: 3.0 * x, np.zeros((2, 1)), np.ones((2, 1))))
        4.0
    """
    real, fake = wide_float(real), wide_float(fake)
    real_shape, fake_shape = tuple(real.shape), tuple(fake.shape)
    if len(real_shape) != len(fake_shape) or any(
        None not in (a, b) and a != b for a, b in zip(real_shape, fake_shape, strict=True)
    ):
        raise ValueError(
            "`real` and `fake` must have the same shape. "
            f"Received: real.shape={real_shape}, fake.shape={fake_shape}"
        )
    one_each = (ops.shape(real)[0], *[1] * (len(real_shape) - 1))
    share = keras.random.uniform(one_each, dtype=real.dtype, seed=seed)
    # As a stack, which sizes that are known only when the step runs must share: a sum would
    # broadcast a batch of one.
    ends = ops.stack([real, fake]) * ops.stack([share, 1.0 - share])
    return slope_penalty(critic, ops.sum(ends, axis=0), target, one_sided)


def slope_penalty(critic: Callable, x: Any, target: float = 1.0, one_sided: bool = False) -> Any:
    """`gradient_penalty` at points that are chosen already, in float32 or wider."""
    excess = _norm(_input_gradient(critic, x)) - target
    return ops.mean(ops.square(ops.relu(excess) if one_sided else excess))


def r1_penalty(critic: Callable, real: Any) -> Any:
    """Zero-centred penalty, E[||grad D(x)||^2] / 2 at real examples x.

    Multiply by gamma, which is 10 in the paper.

    Args:
        critic: From (batch, ...) to scores, each example on its own, as in `gradient_penalty`.
        real: Real examples, (batch, ...).

    Returns:
        A scalar in float32 or wider, with a gradient with respect to the weights of the critic.

    Raises:
        NotImplementedError: On a backend other than TensorFlow and JAX.

    Source:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018,
        arXiv:1801.04406.

    Example:
        >>> import numpy as np
        >>> from keras_duo.losses import r1_penalty
        >>> float(r1_penalty(lambda x: 3.0 * x, np.zeros((2, 1))))
        4.5
    """
    slope = _flat(_input_gradient(critic, wide_float(real)))
    return 0.5 * ops.mean(ops.sum(ops.square(slope), axis=-1))


def _input_gradient(critic: Callable, x: Any) -> Any:
    """The gradient of the scores with respect to `x`, itself open to differentiation."""
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            total = ops.sum(wide_float(critic(x)))
        return tape.gradient(total, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    if backend.backend() == "jax":
        import jax

        return jax.grad(lambda x: ops.sum(wide_float(critic(x))))(x)
    raise NotImplementedError(
        "Gradient penalties need the TensorFlow or the JAX backend. "
        f"Received: backend={backend.backend()!r}"
    )


def _norm(x: Any) -> Any:
    """Euclidean norm of each example, with value and gradient 0 at 0."""
    x = _flat(x)
    # In units of the largest entry the squares neither overflow nor underflow.
    unit = ops.stop_gradient(ops.max(ops.abs(x), axis=-1, keepdims=True))
    positive = unit > 0
    scaled = ops.where(positive, x / ops.maximum(unit, tiny_of(x)), 1.0)
    return unit[:, 0] * ops.sqrt(ops.sum(ops.square(scaled), axis=-1))


def _flat(x: Any) -> Any:
    """One row an example."""
    return ops.reshape(x, (ops.shape(x)[0], -1))
