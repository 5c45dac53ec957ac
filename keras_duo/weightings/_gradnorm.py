"""GradNorm: gradients whose norms follow how far each task has come."""

from typing import Annotated, Any

import numpy as np
from keras import ops

from keras_duo._validate import number, validated
from keras_duo.weightings._gramian import like, norms_and_cosines, wide


def gradnorm_start(tasks: int) -> dict[str, np.ndarray]:
    """Equal weights, and no losses seen."""
    return {
        "log_weights": np.zeros(tasks, "float32"),
        "first_losses": np.zeros(tasks, "float32"),
        "steps": np.zeros((), "float32"),
    }


@validated
def gradnorm(
    gramian: Any,
    losses: Any,
    state: dict[str, Any],
    *,
    alpha: Annotated[float, number()] = 1.5,
    learning_rate: Annotated[float, number(above=0)] = 0.025,
) -> tuple[Any, dict[str, Any]]:
    """Weights w that descend on sum_i |w_i ||g_i|| - m r_i^alpha|.

    m is the mean of w_i ||g_i||, and r_i = L_i / (L_i at the start), divided by its mean. The
    descent is on log w and relative to m, so that it does not depend on the scale of a loss; the
    paper descends on w.

    Args:
        gramian: Products of the task gradients, (tasks, tasks); only the norms are used.
        losses: Losses of this step, (tasks,), positive.
        state: What `gradnorm` returned at the step before, or `gradnorm_start(tasks)`.
        alpha: How strongly a task that lags behind is favoured; 0 makes the norms equal.
        learning_rate: Of the descent.

    Returns:
        Weights > 0 of sum 1, (tasks,), and the new state.

    Source:
        Chen et al., GradNorm, 2018, arXiv:1711.02257.

    Example:
        >>> import keras_duo
        >>> state = keras_duo.weightings.gradnorm_start(2)
        >>> gramian, losses = [[4.0, 0.0], [0.0, 1.0]], [1.0, 1.0]
        >>> weights, state = keras_duo.weightings.gradnorm(gramian, losses, state)
        >>> bool(weights[0] < weights[1])
        True
    """
    norms, _ = norms_and_cosines(gramian)
    values = wide(losses)
    first = ops.where(state["steps"] > 0, wide(state["first_losses"]), values)
    rate = values / ops.where(first > 0, first, 1.0)
    rate = rate / ops.maximum(ops.mean(rate), 1e-30)
    sizes = ops.softmax(wide(state["log_weights"])) * norms
    mean = ops.maximum(ops.mean(sizes), 1e-30)
    target = mean * ops.power(ops.maximum(rate, 1e-30), alpha)
    slope = sizes / mean * ops.sign(sizes - target)
    log_weights = wide(state["log_weights"]) - learning_rate * slope
    log_weights = log_weights - ops.mean(log_weights)
    new = {"log_weights": log_weights, "first_losses": first, "steps": wide(state["steps"]) + 1.0}
    return like(ops.softmax(log_weights), losses), {k: like(v, losses) for k, v in new.items()}
