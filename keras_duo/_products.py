"""Products of matrices whose digits count, where an accelerator would take its short cut."""

from typing import Any

from keras import backend, ops

from keras_duo._clusters import has_cpus_only


def exact_matmul(a: Any, b: Any) -> Any:
    """`a @ b`, which an accelerator does not round to TF32 or bfloat16 on the way.

    A layer is trained with that rounding and may have it. What follows from the product alone, as
    the weights of tasks from that of their gradients, would be off in its third digit.
    """
    if backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            return ops.matmul(a, b)
    if has_cpus_only():
        return ops.matmul(a, b)
    # TensorFlow has a switch for the whole program, and none for one product.
    dtype = backend.result_type(a.dtype, b.dtype)
    return ops.cast(ops.matmul(ops.cast(a, "float64"), ops.cast(b, "float64")), dtype)
