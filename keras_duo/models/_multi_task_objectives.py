"""The objectives of a model with several outputs: which output, label and loss make each."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_duo._serialize import is_trusted, loss_from_config, loss_to_config


class Objectives:
    """The scalar losses of the tasks, from labels and outputs in the structures that Keras takes.

    Args:
        loss: A loss for each output, by name; a list in the order of the outputs; or one for all.
        groups: Outputs of each objective, by its name; None: each output is one.
        outputs: Names of the outputs in their order; None: those that `loss` names.
    """

    def __init__(self, loss: Any, groups: dict[str, list[str]] | None, outputs: Any) -> None:
        self._outputs = list(outputs) if outputs else None
        self._losses = {name: as_loss(one) for name, one in self._named(loss).items()}
        self.groups = groups or {name: [name] for name in self._losses}
        wanted = [name for names in self.groups.values() for name in names]
        if sorted(wanted) != sorted(self._losses):
            raise ValueError(
                "`loss` must have one loss for each output that an objective names. "
                f"Received: losses for {list(self._losses)}, objectives={self.groups}"
            )
        if len(self.groups) < 2:
            raise ValueError(
                "`loss` must make at least two objectives; for several losses on one output there "
                f"is MultiObjective. Received: loss={loss!r}"
            )
        self.means = [keras.metrics.Mean(name=f"{name}_loss") for name in self.groups]
        self.weights = [keras.metrics.Mean(name=f"{name}_weight") for name in self.groups]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The mean loss and the mean weight of each objective."""
        return [*self.means, *self.weights]

    def values(self, y: Any, y_pred: Any, sample_weight: Any) -> list[Any]:
        """One float32 scalar for each objective; of a replica, its share of the mean."""
        labels, outputs = self._by_name("y", y), self._by_name("y_pred", y_pred)
        weights = self._by_name("sample_weight", sample_weight, one_for_all=True)
        each = {
            name: ops.cast(loss(labels[name], outputs[name], weights.get(name)), "float32")
            for name, loss in self._losses.items()
        }
        for name, value in each.items():
            if len(value.shape) > 0:
                raise ValueError(
                    "`loss` must be reduced to one number, with a `reduction` other than 'none'. "
                    f"Received: shape {tuple(value.shape)} for output {name!r}"
                )
        return [sum(each[name] for name in names) for names in self.groups.values()]

    def track(self, losses: Any, weights: Any, count: Any) -> None:
        """Take the losses and the weights of a batch of `count` examples into the means."""
        for i, mean in enumerate(self.means):
            mean.update_state(losses[i], sample_weight=count)
        for i, mean in enumerate(self.weights):
            mean.update_state(weights[i], sample_weight=count)

    def _named(self, loss: Any) -> dict[str, Any]:
        if isinstance(loss, dict):
            unknown = set(loss) - set(self._outputs or loss)
            if not loss or unknown:
                raise ValueError(
                    f"`loss` must be keyed by names of outputs, {self._outputs}. "
                    f"Received: keys {list(loss)}"
                )
            return loss
        if self._outputs is None:
            raise ValueError(
                "`loss` must be a dictionary by the names of the outputs, where the model is not "
                f"a Functional one. Received: loss={loss!r}"
            )
        each = list(loss) if isinstance(loss, list | tuple) else [loss] * len(self._outputs)
        if len(each) != len(self._outputs):
            raise ValueError(
                f"`loss` must hold one loss for each of the outputs {self._outputs}. "
                f"Received: {len(each)} losses"
            )
        return dict(zip(self._outputs, each, strict=True))

    def _by_name(self, what: str, given: Any, one_for_all: bool = False) -> dict[str, Any]:
        if given is None and one_for_all:
            return {}
        if isinstance(given, list | tuple) and len(given) == len(self._outputs or ()):
            given = dict(zip(self._outputs or (), given, strict=True))
        elif one_for_all and not isinstance(given, dict | list | tuple):
            given = dict.fromkeys(self._losses, given)
        if not isinstance(given, dict) or not set(self._losses) <= set(given):
            found = list(given) if isinstance(given, dict) else type(given).__name__
            raise ValueError(
                f"`{what}` must have an entry for each of {list(self._losses)}, as a dictionary or "
                f"as a list in the order of the outputs. Received: {found}"
            )
        return given


class LossFunction(keras.losses.Loss):
    """A function of labels and outputs as a loss, as Keras wraps one in `compile`."""

    def __init__(self, function: Callable) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The function, of labels without the trailing axis of 1 that only one of the two has."""
        if len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        elif len(y_true.shape) + 1 == len(y_pred.shape) and y_pred.shape[-1] == 1:
            y_true = ops.expand_dims(y_true, -1)
        return self.function(y_true, y_pred)


def as_loss(given: Any) -> keras.losses.Loss:
    """A loss from what `compile` takes: a loss, a function, or the name of one."""
    found = given
    if isinstance(given, str):
        try:
            found = keras.losses.get(given)
        except ValueError:
            found = None
    if isinstance(found, keras.losses.Loss):
        return found
    if callable(found) and not isinstance(found, type):
        return LossFunction(found)
    raise ValueError(
        "`loss` must hold losses, functions of (y_true, y_pred), or names that Keras knows. "
        f"Received: {given!r}"
    )


def losses_to_config(loss: Any) -> Any:
    """What `losses_from_config` reads."""
    if isinstance(loss, dict):
        return {name: losses_to_config(one) for name, one in loss.items()}
    if isinstance(loss, list | tuple):
        return [losses_to_config(one) for one in loss]
    if isinstance(loss, keras.losses.Loss):
        return loss_to_config(loss)
    return loss if isinstance(loss, str) else keras.saving.serialize_keras_object(loss)


def losses_from_config(config: Any) -> Any:
    """The losses of Keras, the registered ones, and registered functions; no others."""
    if isinstance(config, list):
        return [losses_from_config(one) for one in config]
    if not isinstance(config, dict):
        return as_loss(config) and config
    if "class_name" not in config:
        return {name: losses_from_config(one) for name, one in config.items()}
    if config["class_name"] == "function" and is_trusted(config):
        return keras.saving.deserialize_keras_object(config)
    return loss_from_config(config)
