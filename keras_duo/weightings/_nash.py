"""Nash-MTL: the gradient that the tasks would agree on in bargaining."""

from typing import Annotated, Any

from keras import ops

from keras_duo._products import exact_matmul
from keras_duo._validate import number, validated
from keras_duo.weightings._gramian import (
    RIDGE,
    inverse_or_zero,
    invertible,
    like,
    norms_and_cosines,
    wide,
)
from keras_duo.weightings._nonnegative import solve

NEWTON_STEPS = 60


@validated
def nash(gramian: Any, *, max_norm: Annotated[float, number(above=0)] = 1.0) -> Any:
    """Weights w > 0 with G w = 1 / w: the Nash bargaining solution among the tasks.

    The combined gradient does not depend on the scale of any loss. Its length is sqrt(tasks) before
    it is cut to `max_norm`, however small the gradients are: with SGD, the learning rate is then
    the length of a step.

    Args:
        gramian: Products of the task gradients, (tasks, tasks).
        max_norm: The greatest length of the combined gradient.

    Returns:
        Weights > 0, 0 for a task whose gradient is 0, (tasks,).

    Source:
        Navon et al., Multi-Task Learning as a Bargaining Game, 2022, arXiv:2202.01017.

    Example:
        >>> import keras_duo
        >>> weights = keras_duo.weightings.nash([[18.0, -22.0], [-22.0, 38.0]])
        >>> [round(float(w), 3) for w in weights]
        [0.418, 0.288]
    """
    _, cosines = norms_and_cosines(gramian)
    matrix = invertible(cosines)
    norms = ops.sqrt(ops.maximum(ops.diagonal(wide(gramian)), 0.0))

    # The minimum of 1/2 a^T C a - sum_i log a_i, which is self-concordant: Newton's method with
    # steps of 1 / (1 + decrement) stays inside a > 0 and converges from anywhere.
    def improve(_: Any, a: Any) -> Any:
        slope = exact_matmul(matrix, a) - 1.0 / a
        curvature = matrix + ops.diag(1.0 / ops.square(a))
        step = solve(curvature, slope)
        decrement = ops.sqrt(ops.maximum(ops.sum(slope * step), 0.0))
        return a - step / (1.0 + decrement)

    count = cosines.shape[0]
    scale = ops.sqrt(count / ops.maximum(ops.sum(matrix), RIDGE))
    a = ops.fori_loop(0, NEWTON_STEPS, improve, ops.ones_like(norms) * scale)
    a = ops.where(norms > 0, a, 0.0)
    length = ops.sqrt(ops.maximum(ops.sum(a * exact_matmul(cosines, a)), 0.0))
    return like(a * inverse_or_zero(norms) / ops.maximum(length / max_norm, 1.0), gramian)
