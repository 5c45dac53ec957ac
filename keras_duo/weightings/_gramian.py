"""The Gramian of the task gradients: their norms, and the cosines between them."""

from typing import Any

from keras import backend, ops

from keras_duo._products import exact_matmul

# A Gramian of float32 gradients is not known better than this, relative to its diagonal.
RIDGE = 1e-6


def gramian(rows: list[list[Any]]) -> Any:
    """Products of the gradients of the tasks, each a list of tensors or of None for 0."""
    flat = [
        [None if t is None else ops.reshape(ops.cast(t, "float32"), (-1,)) for t in r] for r in rows
    ]
    products: list[list[Any]] = [[None] * len(rows) for _ in rows]
    for i, first in enumerate(flat):
        for j in range(i, len(flat)):
            both = [
                exact_matmul(a, b)
                for a, b in zip(first, flat[j], strict=True)
                if a is not None and b is not None
            ]
            products[i][j] = products[j][i] = sum(both, ops.zeros(()))
    return ops.stack([ops.stack(row) for row in products])


def wide(tensor: Any) -> Any:
    """The tensor in the widest float that the backend computes in; JAX has float64 switched off."""
    tensor = ops.convert_to_tensor(tensor)
    return ops.cast(tensor, "float32" if backend.backend() == "jax" else "float64")


def norms_and_cosines(gramian: Any) -> tuple[Any, Any]:
    """The norms of the gradients in units of the largest one, and the matrix of their cosines.

    Gradients of very different sizes have a Gramian that no solver can invert; their cosines are of
    the order of 1. A gradient of 0 has the norm 0 and the cosine 0 with all others and itself.
    """
    gramian = wide(gramian)
    norms = ops.sqrt(ops.maximum(ops.diagonal(gramian), 0.0))
    inverse = inverse_or_zero(norms)
    cosines = gramian * inverse[:, None] * inverse[None, :]
    return norms * inverse_or_zero(ops.max(norms)), ops.clip(cosines, -1.0, 1.0)


def invertible(cosines: Any) -> Any:
    """The cosines with so much on the diagonal that equal or opposite gradients can be solved."""
    return cosines + RIDGE * identity_like(cosines)


def inverse_or_zero(tensor: Any) -> Any:
    """1 / x, and 0 where x is 0."""
    positive = tensor > 0
    return ops.where(positive, 1.0 / ops.where(positive, tensor, 1.0), 0.0)


def identity_like(matrix: Any) -> Any:
    """The identity matrix of the size and dtype of a square matrix."""
    return ops.eye(matrix.shape[-1], dtype=matrix.dtype)


def like(weights: Any, given: Any) -> Any:
    """Weights that were computed in the widest float, in the float type of what was given."""
    dtype = backend.standardize_dtype(ops.convert_to_tensor(given).dtype)
    return ops.stop_gradient(ops.cast(weights, dtype))
