"""Variables that a model applies and does not know: they are neither trained nor saved."""

import functools
import inspect
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

import keras

# Where layers keep functions that their users pass.
_FUNCTIONS = ("activation", "recurrent_activation", "function")
# Where layers keep other layers.
_LAYERS = ("layer", "forward_layer", "backward_layer", "cell")
_DEEPEST = 4


def untracked(model: Any) -> Iterator[tuple[str, list[str]]]:
    """Layers with a function over trainable variables that the model has not got: name, names."""
    known = {id(variable) for variable in model.variables}
    for layer in _layers(model, set()):
        names = {
            str(variable.name)
            for attribute in _FUNCTIONS
            for variable in _variables(getattr(layer, attribute, None), 0)
            if variable.trainable and id(variable) not in known
        }
        if names:
            yield layer.name, sorted(names)


def _layers(layer: Any, seen: set[int]) -> Iterator[Any]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield layer
    inner = list(layer.layers) if isinstance(layer, keras.Model) else []
    inner += [getattr(layer, name, None) for name in _LAYERS]
    for part in inner:
        if isinstance(part, keras.layers.Layer):
            yield from _layers(part, seen)


def _variables(value: Any, depth: int) -> Iterator[Any]:
    """The variables that a function can reach; those of a layer that is passed are the model's."""
    if depth > _DEEPEST or value is None:
        return
    if isinstance(value, keras.Variable) or _is_backend_variable(value):
        yield value
    elif isinstance(value, keras.layers.Layer):
        if depth:
            yield from value.variables
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _variables(part, depth + 1)
    elif isinstance(value, MethodType):
        yield from _variables(value.__self__, depth + 1)
    elif isinstance(value, FunctionType) and not _belongs_to_keras(value):
        reached = inspect.getclosurevars(value)
        for part in (*reached.nonlocals.values(), *reached.globals.values()):
            yield from _variables(part, depth + 1)


def _is_backend_variable(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("assign", "trainable", "shape", "name"))


def _belongs_to_keras(function: FunctionType) -> bool:
    return (function.__module__ or "").split(".")[0] in ("keras", "tensorflow", "jax")
