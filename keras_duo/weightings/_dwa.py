"""DWA: more weight for the losses that fall slowest."""

from typing import Annotated, Any

import numpy as np
from keras import ops

from keras_duo._validate import integer, number, validated
from keras_duo.weightings._gramian import like, wide


def dwa_start(tasks: int) -> dict[str, np.ndarray]:
    """No losses seen."""
    names = ("total", "last", "before")
    return {
        **{name: np.zeros(tasks, "float32") for name in names},
        "steps": np.zeros((), "float32"),
        "windows": np.zeros((), "float32"),
    }


@validated
def dwa(
    losses: Any,
    state: dict[str, Any],
    *,
    temperature: Annotated[float, number(above=0)] = 2.0,
    window: Annotated[int, integer(at_least=1)] = 100,
) -> tuple[Any, dict[str, Any]]:
    """Weights softmax(r / temperature), r_i = (mean L_i of the last window) / (of that before).

    The paper's window is an epoch. The weights of the first two windows are equal.

    Args:
        losses: Losses of this step, (tasks,).
        state: What `dwa` returned at the step before, or `dwa_start(tasks)`.
        temperature: Large: weights nearly equal.
        window: Steps in a window.

    Returns:
        Weights > 0 of sum 1, (tasks,), and the new state.

    Source:
        Liu et al., End-to-End Multi-Task Learning with Attention, 2019, arXiv:1803.10704.

    Example:
        >>> import keras_duo
        >>> state = keras_duo.weightings.dwa_start(2)
        >>> for losses in ([4.0, 4.0], [1.0, 4.0], [1.0, 4.0]):
        ...     weights, state = keras_duo.weightings.dwa(losses, state, window=1)
        >>> [round(float(w), 3) for w in weights]
        [0.407, 0.593]
    """
    last, before = wide(state["last"]), wide(state["before"])
    windows = wide(state["windows"])
    ratio = last / ops.where(before != 0, before, 1.0)
    ratio = ops.where(ops.logical_and(windows >= 2, before != 0), ratio, 1.0)
    weights = ops.softmax(ratio / temperature)

    total, steps = wide(state["total"]) + wide(losses), wide(state["steps"]) + 1.0
    full = steps >= window
    new = {
        "total": ops.where(full, 0.0, total),
        "last": ops.where(full, total / window, last),
        "before": ops.where(full, last, before),
        "steps": ops.where(full, 0.0, steps),
        "windows": ops.where(full, ops.minimum(windows + 1.0, 2.0), windows),
    }
    return like(weights, losses), {name: like(value, losses) for name, value in new.items()}
