"""Registration for Keras serialization, under the one package name `keras_duo`."""

from typing import TypeVar

from keras.saving import register_keras_serializable

C = TypeVar("C", bound=type)

PACKAGE = "keras_duo"


def register(cls: C) -> C:
    """Register a class as `keras_duo>ClassName`, so that Keras can load it by that name."""
    return register_keras_serializable(package=PACKAGE)(cls)
