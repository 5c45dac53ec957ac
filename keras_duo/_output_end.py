"""The end of a model's graph: which values an output can take, read without running anything."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_duo.activations import LearnableActivation


@dataclass(frozen=True)
class OutputEnd:
    """What the last activation on the way to an output makes of it.

    `axis` is the axis of the output that a softmax runs over, None where there is no softmax or
    where what follows has moved its classes; `units` is the size of that axis in the softmax.
    """

    where: str
    activation: str
    kind: str
    low: float
    high: float
    axis: int | None = None
    units: int | None = None


class UnreadableEndError(Exception):
    """The values of an output cannot be told from the graph alone."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where


def output_end(tensor: Any) -> OutputEnd:
    """The end that produces a symbolic output tensor.

    Raises:
        UnreadableEndError: If it cannot be told with certainty.
    """
    operation, inputs, index = _producer(tensor)
    if operation is None or isinstance(operation, keras.layers.InputLayer):
        raise _ReachedInputError("input", "the output is an input of the model")
    if isinstance(operation, keras.Model):
        return _model_end(operation, inputs, index)
    if index:
        raise UnreadableEndError(operation.name, f"it is output {index} of a layer with several")
    if _is_pass_through(operation):
        return _moved(output_end(inputs[0]), operation, inputs[0].shape, tensor.shape)
    end = _operation_end(operation, tensor.shape)
    if _squashed(operation) in _BY_CLASS or type(operation).__name__ == "Activation":
        _refuse_second_activation(end, inputs[0])
    return end


def defined_by_keras(model: Any, method: str) -> bool:
    """Whether a method is Keras' own, and so does what Keras documents."""
    owner = next(cls for cls in type(model).__mro__ if method in vars(cls))
    return _is_keras_class(owner)


class _ReachedInputError(UnreadableEndError):
    """The walk left a model at its input."""


_ANY = (-math.inf, math.inf)
_UNIT = (0.0, 1.0)

# name in keras.activations: (kind, lower bound, upper bound)
_ACTIVATIONS: dict[str, tuple[str, float, float]] = {
    "linear": ("linear", *_ANY),
    "softmax": ("softmax", *_UNIT),
    "sigmoid": ("sigmoid", *_UNIT),
    "hard_sigmoid": ("sigmoid", *_UNIT),
    "log_softmax": ("log-probability", -math.inf, 0.0),
    "log_sigmoid": ("log-probability", -math.inf, 0.0),
    "tanh": ("bounded", -1.0, 1.0),
    "hard_tanh": ("bounded", -1.0, 1.0),
    "softsign": ("bounded", -1.0, 1.0),
    "relu": ("rectified", 0.0, math.inf),
    "relu6": ("rectified", 0.0, 6.0),
    "softplus": ("positive", 0.0, math.inf),
    "squareplus": ("positive", 0.0, math.inf),
    "exponential": ("positive", 0.0, math.inf),
    # Lower bounds below are the minima of the functions, rounded down.
    "leaky_relu": ("leaky", *_ANY),
    "elu": ("leaky", -1.0, math.inf),
    "celu": ("leaky", -1.0, math.inf),
    "selu": ("leaky", -1.759, math.inf),
    "gelu": ("leaky", -0.171, math.inf),
    "silu": ("leaky", -0.279, math.inf),
    "mish": ("leaky", -0.309, math.inf),
    "hard_silu": ("leaky", -0.375, math.inf),
}

_BY_FUNCTION: dict[Callable, str] = {
    getattr(module, name): name
    for module in (keras.ops, keras.activations)
    for name in _ACTIVATIONS
    if hasattr(module, name)
}

# Operations of `keras.ops` have no public classes. The names of their classes, and those of the
# activation layers, are the names above without underscores.
_BY_CLASS = {name.replace("_", ""): name for name in _ACTIVATIONS} | {
    "exp": "exponential",
    "prelu": "leaky_relu",
}

_DIMENSIONS = ("1D", "2D", "3D")

# Layers with an affine map and then `activation`.
_ACTIVATED = {
    "Activation",
    "Dense",
    "EinsumDense",
    "SimpleRNN",
    *(f"{name}{d}" for name in ("Conv", "DepthwiseConv", "SeparableConv") for d in _DIMENSIONS),
    *(f"Conv{d}Transpose" for d in _DIMENSIONS),
}

# A learned scale and shift with nothing behind it.
_AFFINE = {
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
}

# What keeps every value, or averages values, and leaves the order of the axes alone.
_KEEPING = {
    "ActivityRegularization",
    "Cast",
    "Dropout",
    "ExpandDims",
    "Flatten",
    "Identity",
    "RepeatVector",
    "Reshape",
    "Squeeze",
    "StopGradient",
    *(
        f"{name}{d}"
        for name in ("AveragePooling", "Cropping", "GlobalAveragePooling", "SpatialDropout")
        for d in _DIMENSIONS
    ),
}

# What keeps values but may tear the classes of a softmax apart.
_TEARING = {
    "GetItem",
    "Moveaxis",
    "Permute",
    "Swapaxes",
    "Transpose",
    *(f"{name}{d}" for name in ("GlobalMaxPooling", "MaxPooling") for d in _DIMENSIONS),
}


def _producer(tensor: Any) -> tuple[Any, list, int]:
    """The operation that made a symbolic tensor, its input tensors, and which output this is.

    The only place that reads the graph. Keras has no public way from a tensor back to its
    operation: `Layer.input` fails for a layer that is used twice, and `get_config` of a model
    would serialize every layer of it and fail where one cannot be.
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None, [], 0
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, list(node.input_tensors), history.tensor_index


def _model_end(model: Any, inputs: list, index: int) -> OutputEnd:
    outputs = getattr(model, "outputs", None)
    if not outputs or not defined_by_keras(model, "call"):
        raise UnreadableEndError(model.name, "it is a model with a `call` of its own")
    try:
        return output_end(outputs[index])
    except _ReachedInputError as error:
        if len(inputs) != 1:
            raise UnreadableEndError(model.name, str(error)) from None
        return output_end(inputs[0])


def _operation_end(operation: Any, shape: tuple) -> OutputEnd:
    """The end of an operation that makes new values."""
    name, where = type(operation).__name__, operation.name
    if type(operation) is LearnableActivation or (_is_keras(operation) and name in _AFFINE):
        return OutputEnd(where, name, "unbounded", *_ANY)
    if not _is_keras(operation):
        raise UnreadableEndError(where, f"it is a {name}, which is not a layer of Keras")
    if name in ("TimeDistributed", "SpectralNormalization"):
        return _wrapped_end(operation, shape)
    if name == "Bidirectional":
        end = _wrapped_end(operation, shape, inner=operation.forward_layer)
        if operation.merge_mode in ("concat", None) and end.kind != "softmax":
            return end
        raise UnreadableEndError(where, f"it merges two directions by {operation.merge_mode!r}")
    if name in _ACTIVATED:
        return _activated_end(operation, shape)
    if name in ("LSTM", "GRU") and _BY_FUNCTION.get(operation.activation) == "tanh":
        return OutputEnd(where, "tanh", *_ACTIVATIONS["tanh"])
    if _squashed(operation) in _BY_CLASS:
        return _parametrized_end(operation, shape)
    raise UnreadableEndError(where, f"it is a {name}, whose values are not known")


def _wrapped_end(wrapper: Any, shape: tuple, inner: Any = None) -> OutputEnd:
    inner = wrapper.layer if inner is None else inner
    if isinstance(inner, keras.Model) or _is_pass_through(inner):
        raise UnreadableEndError(wrapper.name, f"it wraps a {type(inner).__name__}")
    end = _operation_end(inner, shape)
    # Only the last axis is the same one inside and outside.
    kept = end.axis == len(shape) - 1
    return replace(end, where=wrapper.name, axis=end.axis if kept else None)


def _activated_end(layer: Any, shape: tuple) -> OutputEnd:
    activation, where = layer.activation, layer.name
    if isinstance(activation, keras.layers.Layer):
        return replace(_operation_end(activation, shape), where=where)
    name = _BY_FUNCTION.get(activation)
    if name is None:
        given = getattr(activation, "__name__", type(activation).__name__)
        raise UnreadableEndError(where, f"its activation `{given}` is not one of Keras' own")
    # Weights that are kept in a range, or are not learned, may well map probabilities to
    # probabilities: the matrix of a mixture, or one that sums classes.
    constrained = any(getattr(layer, f"{w}_constraint", None) for w in ("kernel", "bias"))
    if name == "linear" and (constrained or not layer.trainable):
        raise UnreadableEndError(where, "it is linear with fixed or constrained weights")
    return _known_end(where, name, shape)


def _parametrized_end(operation: Any, shape: tuple) -> OutputEnd:
    """An activation layer, or an operation of `keras.ops`, with its arguments as attributes."""
    end = _known_end(
        operation.name, _BY_CLASS[_squashed(operation)], shape, getattr(operation, "axis", -1)
    )
    if end.activation == "relu":
        limit = getattr(operation, "max_value", None)
        if limit is not None and limit <= 1:
            raise UnreadableEndError(operation.name, f"it is a relu with max_value={limit:g}")
        if getattr(operation, "negative_slope", 0):
            return replace(end, kind="leaky", low=-math.inf)
    if end.activation in ("elu", "celu") and getattr(operation, "alpha", 1.0) is not None:
        return replace(end, low=-float(getattr(operation, "alpha", 1.0)))
    return end


def _known_end(where: str, name: str, shape: tuple, axis: Any = -1) -> OutputEnd:
    end = OutputEnd(where, name, *_ACTIVATIONS[name])
    if name != "softmax":
        return end
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if len(axes) != 1 or not -len(shape) <= axes[0] < len(shape):
        return end
    return replace(end, axis=axes[0] % len(shape), units=shape[axes[0]])


def _refuse_second_activation(end: OutputEnd, tensor: Any) -> None:
    """An activation of probabilities, as relu(sigmoid(x)), may leave them probabilities."""
    if end.kind in ("softmax", "sigmoid", "log-probability"):
        return
    try:
        before = output_end(tensor)
    except UnreadableEndError:
        return
    if before.kind in ("softmax", "sigmoid"):
        raise UnreadableEndError(end.where, f"it is {end.activation} of a {before.activation}")


def _is_pass_through(operation: Any) -> bool:
    name = type(operation).__name__
    if not _is_keras(operation):
        return False
    if name.startswith("UpSampling"):
        # Cubic interpolation overshoots.
        return getattr(operation, "interpolation", "nearest") in ("nearest", "bilinear")
    linear = name == "Activation" and _BY_FUNCTION.get(operation.activation) == "linear"
    return linear or name in _KEEPING or name in _TEARING


def _moved(end: OutputEnd, operation: Any, before: tuple, after: tuple) -> OutputEnd:
    """The same end, with the axis of its softmax where the operation has put it."""
    last = len(before) - 1
    if end.axis is None or type(operation).__name__ in _TEARING:
        return replace(end, axis=None)
    if tuple(before) == tuple(after):
        return end
    whole = end.axis == last and before[-1] is not None and before[-1] == after[-1]
    return replace(end, axis=len(after) - 1 if whole else None)


def _squashed(operation: Any) -> str:
    return type(operation).__name__.lower() if _is_keras(operation) else ""


def _is_keras(operation: Any) -> bool:
    return _is_keras_class(type(operation))


def _is_keras_class(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "keras"
