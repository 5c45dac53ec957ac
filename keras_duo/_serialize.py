"""Activations and losses from identifiers and from saved configs.

A config may come from a file of unknown origin. Keras resolves almost any of its exported functions
from one (`keras.config.set_floatx` as an activation), so what is accepted here is listed.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras

# How Keras itself writes a model without a class of its own; the private module is its choice.
_MODELS = (("keras", "Sequential"), ("keras.src.models.functional", "Functional"))


def resolve_activation(identifier: Any) -> Callable:
    """The activation that a user named or passed."""
    if isinstance(identifier, str):
        try:
            return keras.activations.get(identifier)
        except ValueError:
            pass
    elif callable(identifier) and not isinstance(identifier, type):
        return identifier
    raise ValueError(
        "`activation` must be a name from `keras.activations`, a function, or a layer instance. "
        f"Received: activation={identifier!r}"
    )


def activation_from_config(config: Any) -> Any:
    """What `keras.activations.serialize` wrote: a name, a registered function, or a layer."""
    if isinstance(config, str):
        return resolve_activation(config)
    if isinstance(config, dict) and is_trusted(config):
        activation = keras.saving.deserialize_keras_object(config)
        if config["class_name"] == "function" or isinstance(activation, keras.layers.Layer):
            return resolve_activation(activation)
    raise ValueError(
        "`activation` in a saved config must be a name from `keras.activations`, a Keras layer, or "
        "a function or layer registered with `keras.saving.register_keras_serializable`. "
        f"Received: activation={config!r}"
    )


def loss_to_config(loss: keras.losses.Loss) -> dict[str, Any]:
    """What `loss_from_config` reads, with the arguments that Keras' own `get_config` leaves out.

    Keras 3.15 forgets the dtype of every loss, and arguments such as the delta of Huber.
    """
    config = keras.saving.serialize_keras_object(loss)
    known = inspect.signature(type(loss)).parameters
    kept = {"dtype": loss.dtype, **getattr(loss, "_fn_kwargs", {})}
    forgotten = {
        name: value
        for name, value in kept.items()
        if name in known and name not in config["config"] and _is_plain(value)
    }
    return {**config, "config": {**config["config"], **forgotten}}


def loss_from_config(config: Any) -> keras.losses.Loss:
    """A loss that Keras exports or that is registered."""
    if isinstance(config, dict) and is_trusted(config, "keras.losses"):
        loss = keras.saving.deserialize_keras_object(config)
        if isinstance(loss, keras.losses.Loss):
            return loss
    raise ValueError(
        "`losses` in a saved config must hold losses of Keras, or losses registered with "
        f"`keras.saving.register_keras_serializable`. Received: {config!r}"
    )


def model_from_config(config: Any, custom_objects: Any = None) -> keras.Model:
    """A Sequential or functional model, or one of a registered class."""
    if isinstance(config, keras.Model):  # where Keras has deserialized what is inside a config
        return config
    return _loaded(config, "keras.models", keras.Model, "A model", custom_objects)


def optimizer_from_config(config: Any) -> keras.optimizers.Optimizer:
    """An optimizer that Keras exports or that is registered."""
    return _loaded(config, "keras.optimizers", keras.optimizers.Optimizer, "An optimizer")


def metric_from_config(config: Any) -> Any:
    """A metric that Keras exports or that is registered, or the name of one."""
    if isinstance(config, str):
        return config
    return _loaded(config, "keras.metrics", keras.metrics.Metric, "A metric")


def reduced_by(loss: keras.losses.Loss, reduction: str | None) -> keras.losses.Loss:
    """The same loss under another reduction; what was passed in stays as it is."""
    # Not `copy.copy`: Keras copies through its config, which forgets the delta of Huber.
    other = object.__new__(type(loss))
    vars(other).update(vars(loss))
    other.reduction = reduction
    return other


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _loaded(config: Any, module: str, kind: type, name: str, custom_objects: Any = None) -> Any:
    known = isinstance(config, dict) and (
        is_trusted(config, module) or config.get("class_name") in (custom_objects or {})
    )
    if known:
        found = keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)
        if isinstance(found, kind):
            return found
    raise ValueError(
        f"{name} in a saved config must be one of Keras, or of a class registered with "
        f"`keras.saving.register_keras_serializable`. Received: {config!r}"
    )


def is_trusted(config: dict[str, Any], module: str = "keras.layers") -> bool:
    """Whether a config names something registered, or a class that `module` of Keras exports."""
    class_name = config.get("class_name")
    name = config.get("config") if class_name == "function" else config.get("registered_name")
    if isinstance(name, str) and keras.saving.get_registered_object(name) is not None:
        return True
    if module == "keras.models" and (config.get("module"), class_name) in _MODELS:
        return True
    return config.get("module") == module and isinstance(class_name, str)
