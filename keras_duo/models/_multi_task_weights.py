"""What a weighting remembers, as variables of a layer: saved, restored and resumed."""

from typing import Any

import keras
import numpy as np
from keras import backend, ops

from keras_duo.weightings import uncertainty_objective
from keras_duo.weightings._methods import METHODS
from keras_duo.weightings._random import hashed_draw


class TaskWeights(keras.layers.Layer):
    """The weights of the tasks, and the state that they are found from.

    Args:
        weighting: A name from `METHODS`.
        tasks: How many there are.
        arguments: Of the weighting, by name.
    """

    def __init__(self, weighting: str, tasks: int, arguments: dict[str, Any]) -> None:
        super().__init__(name="task_weights", dtype="float32")
        if weighting not in METHODS:
            raise ValueError(
                f"`weighting` must be one of {list(METHODS)}. Received: weighting={weighting!r}"
            )
        self.method, self.tasks = METHODS[weighting], tasks
        self.arguments = self.method.arguments(arguments)
        self.in_force = self._variable("in_force", np.full(tasks, 1.0 / tasks))
        self.losses_seen = self._variable("losses_seen", np.zeros(tasks))
        start = self.method.start(tasks) if self.method.start else {}
        if "draw" in self.method.takes:
            start["draws"] = np.zeros(())
        self.state = {name: self._variable(name, value) for name, value in start.items()}
        self.log_variances = (
            self.add_weight(shape=(tasks,), name="log_variances", initializer="zeros")
            if "log_variances" in self.method.takes
            else None
        )
        self.built = True
        # What the arguments make of losses of 1: an error here names them, and not a training step.
        if not self.method.by_gradient:
            self._find(ops.ones(tasks), None)

    def is_like(self, other: "TaskWeights") -> bool:
        """Whether the other has the same method, for as many tasks."""
        return (self.method, self.arguments, self.tasks) == (
            other.method,
            other.arguments,
            other.tasks,
        )

    def update(self, losses: Any, gramian: Any = None) -> Any:
        """The weights for this step, from here on in force; they are constants to the gradient."""
        weights, new = self._find(losses, gramian)
        # A step that a LossScaleOptimizer is going to skip leaves no trace.
        sound = ops.logical_and(ops.all(ops.isfinite(losses)), ops.all(ops.isfinite(weights)))
        known = [(self.in_force, weights), (self.losses_seen, losses)]
        for variable, value in [*known, *((self.state[name], new[name]) for name in new)]:
            variable.assign(ops.where(sound, value, variable))
        return weights

    def objective(self, losses: Any) -> Any:
        """What trainable state descends on, less its value: 0 with a gradient; None without."""
        if self.log_variances is None:
            return None
        value = uncertainty_objective(losses, ops.add(self.log_variances, 0.0))
        return value - ops.stop_gradient(value)

    def _find(self, losses: Any, gramian: Any) -> tuple[Any, dict[str, Any]]:
        # A sum is a tensor on every backend, and stays what it is when the variable moves on.
        state = {name: ops.add(variable, 0.0) for name, variable in self.state.items()}
        available = {"losses": losses, "gramian": gramian, "state": state}
        new = {}
        if "draw" in self.method.takes:
            new["draws"] = state.pop("draws") + 1.0
            available["draw"] = hashed_draw(new["draws"], (self.tasks, self.tasks))
        if self.log_variances is not None:
            available["log_variances"] = ops.add(self.log_variances, 0.0)
        weights, found = self.method(available, self.arguments)
        return weights, {**found, **new}

    def _variable(self, name: str, value: Any) -> Any:
        return self.add_weight(
            shape=value.shape,
            name=name,
            initializer=lambda shape, dtype: ops.cast(value, dtype),
            trainable=False,
            # Every replica finds the same, from losses and products summed over the replicas.
            aggregation="only_first_replica" if backend.backend() == "tensorflow" else "none",
        )
