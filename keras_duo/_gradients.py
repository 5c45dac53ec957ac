"""Derivatives that `keras.ops` has no word for, in one place for each backend."""

from collections.abc import Callable
from typing import Any

import keras
from keras import backend, ops

DIFFERENTIABLE = ("tensorflow", "jax")


def value_and_slope(function: Callable, x: Any) -> tuple[Any, Any]:
    """`function(x)`, and the derivative of each output with respect to the input in its place.

    The second is the diagonal of the Jacobian as v * (J^T v), with v random signs that are the same
    at every call: exact where `function` acts on each entry by itself, because v * v = 1; an
    unbiased estimate where an entry also depends on others, as in an activation that looks at the
    whole input. None where the output does not have the shape of the input.
    """
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = function(x)
        if not _same_shape(x, y):
            return y, None
        signs = random_signs(y)
        zero = tf.UnconnectedGradients.ZERO
        return y, signs * tape.gradient(y, x, output_gradients=signs, unconnected_gradients=zero)
    import jax

    y, pull_back = jax.vjp(function, x)
    if not _same_shape(x, y):
        return y, None
    signs = random_signs(y)
    return y, signs * pull_back(signs)[0]


def tapped_gradients(forward: Callable) -> tuple[list, Any]:
    """The gradients of a scalar with respect to tensors on the way to it.

    Args:
        forward: Called with a function `tap`; returns the scalar and further tensors. Whatever it
            passes through `tap`, using what comes back, is differentiated by.

    Returns:
        One gradient for each call of `tap`, in order, and the further tensors.
    """
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        tapped = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def watch(x: Any) -> Any:
                tape.watch(x)
                tapped.append(x)
                return x

            scalar, further = forward(watch)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(scalar, tapped, unconnected_gradients=zero), further
    import jax

    # JAX differentiates by arguments alone: each tensor gets an argument of 0 added to it. A first
    # pass, which computes nothing, finds their shapes.
    shapes: list = []

    def note(x: Any) -> Any:
        shapes.append((x.shape, x.dtype))
        return x

    jax.eval_shape(lambda: forward(note)[0])

    def shifted(shifts: list) -> tuple[Any, Any]:
        remaining = iter(shifts)
        return forward(lambda x: x + next(remaining))

    return jax.grad(shifted, has_aux=True)([ops.zeros(*shape) for shape in shapes])


def gradients_of_each(function: Callable, x: Any) -> tuple[list, list]:
    """The scalars that `function(x)` lists, and the gradient of each with respect to `x`."""
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(x)
            scalars = function(x)
        zero = tf.UnconnectedGradients.ZERO
        return scalars, [tape.gradient(scalar, x, unconnected_gradients=zero) for scalar in scalars]
    import jax

    scalars, pull_back = jax.vjp(function, x)
    chosen = ops.eye(len(scalars), dtype=scalars[0].dtype)
    return scalars, [pull_back(list(row))[0] for row in chosen]


def with_gradient(function: Callable) -> Callable:
    """What `function` of tensors gives first, with the gradient that it gives second.

    A backend that compiles the step differentiates the first by itself.
    """
    if backend.backend() != "tensorflow":
        return lambda *tensors: function(*tensors)[0]
    import tensorflow as tf

    differentiated = tf.custom_gradient(function)
    # What Keras calls the tensor of a variable can be the variable, which TensorFlow refuses here.
    return lambda *tensors: differentiated(*map(tf.convert_to_tensor, tensors))


def with_gradients(function: Callable) -> Callable:
    """What `function` of tensors gives first, several tensors of one shape, with its own gradient.

    The second that it gives takes the gradient of each of them, and gives those of the arguments.
    """
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.custom_gradient(function)

    @ops.custom_gradient
    def stacked(*tensors: Any) -> tuple[Any, Callable]:
        outputs, gradient = function(*tensors)

        def unstacked(*args: Any, upstream: Any = None) -> Any:
            # JAX passes the upstream gradient alone, torch the arguments before it.
            upstream = args[0] if upstream is None else upstream
            return gradient(*(upstream[i] for i in range(len(outputs))))

        return ops.stack(outputs), unstacked

    def call(*tensors: Any) -> tuple:
        outputs = stacked(*tensors)
        return tuple(outputs[i] for i in range(outputs.shape[0]))

    return call


def compiled(function: Callable) -> Callable:
    """`function` of tensors of the same shapes at every call, traced at the first one."""
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        graph: list = []

        def call(*tensors: Any) -> Any:
            if not graph:
                # Called by itself, a tf.function warns of every new one from the same line.
                traced = tf.function(function, autograph=False)
                graph.append(traced.get_concrete_function(*tensors))
            return graph[0](*tensors)

        return call
    import jax

    return jax.jit(function)


def random_signs(like: Any) -> Any:
    """1 or -1 for each entry, the same at every call."""
    coin = keras.random.uniform(ops.shape(like), dtype="float32", seed=0) < 0.5
    return ops.cast(ops.where(coin, -1.0, 1.0), like.dtype)


def _same_shape(x: Any, y: Any) -> bool:
    return hasattr(y, "shape") and tuple(y.shape) == tuple(x.shape)
