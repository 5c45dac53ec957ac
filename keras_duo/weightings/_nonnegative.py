"""Exact solvers for the small quadratic problems behind MGDA, UPGrad and CAGrad.

They are a few tensor operations of static shape, so that they run inside a compiled training step
on every backend: one row and column for each task, at most some tens of them.
"""

from typing import Any

from keras import ops

from keras_duo._products import exact_matmul
from keras_duo.weightings._gramian import identity_like


def solve(matrix: Any, right: Any) -> Any:
    """X with matrix @ x = right, for matrices (..., n, n) that are positive definite."""
    count = matrix.shape[-1]
    rows = ops.arange(count)
    augmented = ops.concatenate([matrix, right[..., None]], axis=-1)
    for k in range(count):  # Gauss-Jordan; such a matrix needs no other pivots than its diagonal
        pivot = augmented[..., k : k + 1, :] / augmented[..., k : k + 1, k : k + 1]
        reduced = augmented - augmented[..., :, k : k + 1] * pivot
        augmented = ops.where((rows == k)[:, None], pivot, reduced)
    return augmented[..., -1]


def least_nonnegative(matrix: Any, linear: Any) -> Any:
    """The minimiser x >= 0 of 1/2 x^T A x - b^T x, for each row b of `linear`.

    The active-set method of Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23,
    for many right-hand sides at once. `matrix` must be positive definite.

    Args:
        matrix: A, (n, n).
        linear: b, (batch, n).
    """
    count = matrix.shape[-1]
    identity = identity_like(matrix)
    # What rounding leaves of a derivative that is 0.
    precision = 1e-6 if matrix.dtype == "float32" or "float32" in str(matrix.dtype) else 1e-12
    slack = precision * (ops.max(ops.abs(linear), axis=-1, keepdims=True) + precision)
    infinite = ops.full_like(linear, float("inf"))

    def unfinished(x: Any, free: Any, finished: Any) -> Any:
        return ops.logical_not(ops.all(finished))

    def step(x: Any, free: Any, finished: Any) -> tuple[Any, Any, Any]:
        """Solve with the free variables alone; then free one more, or bind those below 0."""
        inside = ops.logical_and(free[:, :, None], free[:, None, :])
        found = solve(ops.where(inside, matrix, identity), ops.where(free, linear, 0.0))
        below = ops.logical_and(free, found <= 0)
        blocked = ops.any(below, axis=-1, keepdims=True)

        # As far towards the solution as no variable falls below 0; those at 0 are bound there.
        span = ops.where(below, x - found, 1.0)
        reach = ops.where(below, x / ops.where(span > 0, span, 1.0), infinite)
        nearest = ops.min(reach, axis=-1, keepdims=True)
        length = ops.where(blocked, nearest, 1.0)
        stopped = ops.logical_and(below, reach <= nearest)
        moved = ops.where(stopped, 0.0, x + length * (found - x))
        moved = ops.where(free, moved, 0.0)

        descent = linear - exact_matmul(moved, matrix)
        gain = ops.where(free, -infinite, descent)
        best = ops.max(gain, axis=-1, keepdims=True)
        # The first of equal ones, and only one of them: two of a kind cannot be solved for.
        chosen = ops.one_hot(ops.argmax(gain, axis=-1), count, dtype=matrix.dtype) > 0
        entering = ops.logical_and(chosen, ops.logical_and(best > slack, ~blocked))
        kept = ops.logical_and(free, ~stopped)
        done = ops.logical_and(~blocked, best <= slack)
        x = ops.where(finished, x, moved)
        free = ops.where(finished, free, ops.logical_or(kept, entering))
        return x, free, ops.logical_or(finished, done)

    start = ops.zeros_like(linear)
    x, _, _ = ops.while_loop(
        unfinished,
        step,
        (start, start > 0, ops.zeros_like(linear[:, :1]) > 0),
        maximum_iterations=6 * count + 6,
    )
    return x
