"""Activations from identifiers and from saved configs.

A config may come from a file of unknown origin. Keras resolves almost any of its exported functions
from one (`keras.config.set_floatx` as an activation), so what is accepted here is listed.
"""

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


def _is_trusted(config: dict[str, Any]) -> bool:
    class_name = config.get("class_name")
    name = config.get("config") if class_name == "function" else config.get("registered_name")
    if isinstance(name, str) and keras.saving.get_registered_object(name) is not None:
        return True
    return config.get("module") == "keras.layers" and isinstance(class_name, str)
