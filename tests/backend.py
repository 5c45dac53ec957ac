"""What the tests need from a backend beyond `keras.ops`: gradients and compilation."""

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()


def gradient(function, x):
    """The gradient of the sum of `function(x)`, computed in the dtype of `x`."""
    x = ops.convert_to_tensor(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(function(x))
        return numpy(tape.gradient(value, x))
    import jax

    return numpy(jax.grad(lambda x: ops.sum(function(x)))(x))


def gradients(function, *arguments):
    """The gradients of the sum of `function(*arguments)`, one for each argument."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = tf.reduce_sum(function(*arguments))
        return [numpy(found) for found in tape.gradient(value, arguments)]
    import jax

    every = tuple(range(len(arguments)))
    found = jax.grad(lambda *arguments: ops.sum(function(*arguments)), every)(*arguments)
    return [numpy(slope) for slope in found]


def weight_gradients(layer, x, upstream):
    """The gradients of the sum of `layer(x) * upstream`, one for each trainable variable."""
    x = ops.convert_to_tensor(x)
    wide = keras.backend.result_type(layer.compute_dtype, "float32")

    def total(value):
        return ops.sum(ops.cast(value, wide) * upstream)

    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = total(layer(x))
        found = tape.gradient(value, layer.trainable_variables)
        return [numpy(ops.convert_to_tensor(slope)) for slope in found]
    import jax

    def of_weights(weights):
        return total(layer.stateless_call(weights, layer.non_trainable_variables, x)[0])

    found = jax.grad(of_weights)([variable.value for variable in layer.trainable_variables])
    return [numpy(slope) for slope in found]


def value_and_slope(function):
    """Both at once, as tensors, so that they can be compiled."""

    def run(x):
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x)
            return value, tape.gradient(value, x)
        import jax

        value, pull_back = jax.vjp(function, x)
        return value, pull_back(ops.ones_like(value))[0]

    return run


def compiled(function, *, xla=False):
    """`function` as the training step of this backend would run it."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=xla, autograph=False)
    import jax

    return jax.jit(function)


def numpy(tensor):
    """A float64 array, or an integer one; bfloat16 included, which NumPy does not know."""
    if keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype)):
        wide = ops.cast(tensor, "float64" if has_float64() else "float32")
        return np.asarray(ops.convert_to_numpy(wide), dtype="float64")
    return ops.convert_to_numpy(tensor)


def has_float64():
    """JAX computes in float32 unless it was started otherwise."""
    return BACKEND != "jax"
