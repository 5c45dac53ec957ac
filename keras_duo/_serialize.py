"""Activations and losses from identifiers and from saved configs.

A config may come from a file of unknown origin. Keras resolves almost any of its exported functions
from one (`keras.config.set_floatx` as an activation), so what is accepted here is listed.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras


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
    if isinstance(config, dict) and _is_trusted(config):
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
    if isinstance(config, dict) and _is_trusted(config, "keras.losses"):
        loss = keras.saving.deserialize_keras_object(config)
        if isinstance(loss, keras.losses.Loss):
            return loss
    raise ValueError(
        "`losses` in a saved config must hold losses of Keras, or losses registered with "
        f"`keras.saving.register_keras_serializable`. Received: {config!r}"
    )


def model_from_config(config: Any) -> keras.Model:
    """A Sequential or functional model, or one of a registered class."""
    named = isinstance(config, dict) and (config.get("module"), config.get("class_name"))
    # The private module is the one that Keras itself writes for a functional model.
    of_keras = (("keras", "Sequential"), ("keras.src.models.functional", "Functional"))
    if named and (named in of_keras or _is_trusted(config, "keras.models")):
        model = keras.saving.deserialize_keras_object(config)
        if isinstance(model, keras.Model):
            return model
    raise ValueError(
        "A model in a saved config must be a Sequential or functional model, or of a class "
        "registered with `keras.saving.register_keras_serializable`. "
        f"Received: (module, class_name)={named}"
    )


def reduced_by(loss: keras.losses.Loss, reduction: str | None) -> keras.losses.Loss:
    """The same loss under another reduction; what was passed in stays as it is."""
    # Not `copy.copy`: Keras copies through its config, which forgets the delta of Huber.
    other = object.__new__(type(loss))
    vars(other).update(vars(loss))
    other.reduction = reduction
    return other


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _is_trusted(config: dict[str, Any], module: str = "keras.layers") -> bool:
    class_name = config.get("class_name")
    name = config.get("config") if class_name == "function" else config.get("registered_name")
    if isinstance(name, str) and keras.saving.get_registered_object(name) is not None:
        return True
    return config.get("module") == module and isinstance(class_name, str)
