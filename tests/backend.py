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
