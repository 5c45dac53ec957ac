"""The end of a model's graph: which values an output can take, read without running anything."""

import math
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_duo import activations as duo_activations
from keras_duo.check._activation_table import ACTIVATIONS, BY_CLASS, name_of
from keras_duo.check._graph import (
    DIMENSIONS,
    axis_after,
    defined_by_keras,
    is_a,
    is_keras,
    keeps_values,
    producer,
)
from keras_duo.layers import QuantileHead


@dataclass(frozen=True)
class OutputEnd:
    """What the last activation on the way to an output makes of it.

    `axis` is the axis of the output that a softmax runs over, None where there is no softmax or
    where what follows has moved its classes; `units` is the size of that axis in the softmax.
    `dtype` is the one that the activation computes in, `before` the end that a softmax or sigmoid
    of its own layer takes, and `quantiles` those of a head that keeps them in order.
    """

    where: str
    activation: str
    kind: str
    low: float = -math.inf
    high: float = math.inf
    axis: int | None = None
    units: int | None = None
    dtype: str = "float32"
    before: "OutputEnd | None" = None
    quantiles: tuple[float, ...] | None = None


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
    return _Walk().end(tensor)


class _ReachedInputError(UnreadableEndError):
    """The walk left a model at one of its inputs."""

    def __init__(self, tensor: Any) -> None:
        super().__init__("input", "the output is an input of the model")
        self.tensor = tensor


class _Walk:
    """One way back from an output; a tensor that several branches share is read once."""

    def __init__(self) -> None:
        self._seen: dict[int, OutputEnd | UnreadableEndError] = {}

    def end(self, tensor: Any) -> OutputEnd:
        if id(tensor) not in self._seen:
            try:
                self._seen[id(tensor)] = self._read(tensor)
            except UnreadableEndError as error:
                self._seen[id(tensor)] = error
        found = self._seen[id(tensor)]
        if isinstance(found, UnreadableEndError):
            raise found
        return found

    def _read(self, tensor: Any) -> OutputEnd:
        operation, inputs, index = producer(tensor)
        if operation is None or isinstance(operation, keras.layers.InputLayer):
            raise _ReachedInputError(tensor)
        if isinstance(operation, keras.Model):
            return self._through_model(operation, inputs, index)
        if index:
            raise UnreadableEndError(operation.name, f"it is output {index} of several")
        inner = operation.layer if is_a(operation, "TimeDistributed") else operation
        if keeps_values(inner):
            end = self.end(inputs[0])
            axis = axis_after(end.axis, inner, inputs[0].shape, tensor.shape)
            return replace(end, axis=axis)
        if is_a(operation, *_JOINING):
            return self._joined(operation.name, inputs)
        if is_a(operation, *_SUMMING) or (is_a(operation, *_SCALING) and len(inputs) == 1):
            return self._affine(operation, inputs, tensor)
        end = replace(_operation_end(operation, tensor.shape), dtype=str(tensor.dtype))
        if _squashed(operation) in BY_CLASS or is_a(operation, "Activation"):
            return self._after(end, inputs[0])
        return end

    def _through_model(self, model: Any, inputs: list, index: int) -> OutputEnd:
        outputs = getattr(model, "outputs", None)
        if not outputs or not defined_by_keras(model, "call"):
            raise UnreadableEndError(model.name, "it is a model with a `call` of its own")
        try:
            return self.end(outputs[index])
        except _ReachedInputError as error:
            pairs = zip(inputs, model.inputs, strict=False)
            outer = [given for given, own in pairs if own is error.tensor]
            if len(inputs) != len(model.inputs) or not outer:
                raise UnreadableEndError(model.name, str(error)) from None
            return self.end(outer[0])

    def _after(self, end: OutputEnd, tensor: Any) -> OutputEnd:
        """The end of an activation, with that of its input where it can be read."""
        try:
            before = self.end(tensor)
        except UnreadableEndError:
            return end
        if end.kind in ("softmax", "sigmoid"):
            return replace(end, before=before)
        if before.kind in ("softmax", "sigmoid") and end.kind != "log-probability":
            # As relu(sigmoid(x)), which may leave them probabilities.
            raise UnreadableEndError(end.where, f"it is {end.activation} of a {before.activation}")
        return end

    def _joined(self, where: str, inputs: list) -> OutputEnd:
        try:
            ends = [self.end(part) for part in inputs]
        except _ReachedInputError as error:
            raise UnreadableEndError(where, "it joins an input of the model") from error
        kinds = {end.kind for end in ends}
        if len(kinds) > 1 or kinds == {"softmax"}:
            raise UnreadableEndError(where, "it joins parts that end differently, or in softmax")
        low, high = min(end.low for end in ends), max(end.high for end in ends)
        return replace(ends[0], where=where, low=low, high=high, before=None, quantiles=None)

    def _affine(self, operation: Any, inputs: list, tensor: Any) -> OutputEnd:
        for part in inputs:
            try:
                if self.end(part).kind == "linear":
                    return OutputEnd(operation.name, "linear", "linear", dtype=str(tensor.dtype))
            except UnreadableEndError:
                continue
        name = type(operation).__name__
        raise UnreadableEndError(operation.name, f"it is {name} of values that are not known")


# Layers with an affine map and then `activation`.
_ACTIVATED = (
    "Activation",
    "Dense",
    "EinsumDense",
    "SimpleRNN",
    *(f"{name}{d}" for name in ("Conv", "DepthwiseConv", "SeparableConv") for d in DIMENSIONS),
    *(f"Conv{d}Transpose" for d in DIMENSIONS),
)

# `activation` of the cell, times a gate between 0 and 1.
_GATED = ("LSTM", "GRU", *(f"ConvLSTM{d}" for d in DIMENSIONS))

# A learned scale and shift with nothing behind it.
_NORMALIZED = (
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "RMSNormalization",
)
_LEARNED = {getattr(duo_activations, name) for name in duo_activations.__all__}

# A learned linear map of whatever comes in.
_LINEAR = ("Embedding", "MultiHeadAttention")

# Where a value without bounds goes in, one without bounds comes out.
_SUMMING = ("Add", "Average", "Negative", "Rescaling", "Subtract")
_SCALING = ("Divide", "Multiply", "TrueDivide")

_JOINING = ("Concatenate", "Stack")


def _operation_end(operation: Any, shape: tuple) -> OutputEnd:
    """The end of an operation that makes new values."""
    name, where = type(operation).__name__, operation.name
    if type(operation) in _LEARNED or is_a(operation, *_NORMALIZED):
        return OutputEnd(where, name, "unbounded")
    if type(operation) is QuantileHead:
        return OutputEnd(where, "linear", "linear", quantiles=operation.quantiles)
    if not is_keras(operation):
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
    if name in _GATED and name_of(operation.activation) == "tanh":
        return _known_end(where, "tanh", shape)
    if name in _LINEAR:
        _refuse_fixed_weights(operation)
        return _known_end(where, "linear", shape)
    if _squashed(operation) in BY_CLASS:
        return _parametrized_end(operation, shape)
    raise UnreadableEndError(where, f"it is a {name}, whose values are not known")


def _wrapped_end(wrapper: Any, shape: tuple, inner: Any = None) -> OutputEnd:
    inner = wrapper.layer if inner is None else inner
    if isinstance(inner, keras.Model):
        outputs = list(getattr(inner, "outputs", None) or [])
        if len(outputs) != 1 or not defined_by_keras(inner, "call"):
            raise UnreadableEndError(wrapper.name, "it wraps a model that cannot be read")
        end, last = output_end(outputs[0]), len(outputs[0].shape) - 1
    else:
        end, last = _operation_end(inner, shape), len(shape) - 1
    # Only the last axis is the same one inside and outside.
    kept = end.axis == last
    return replace(end, where=wrapper.name, axis=len(shape) - 1 if kept else None)


def _activated_end(layer: Any, shape: tuple) -> OutputEnd:
    activation, where = layer.activation, layer.name
    if isinstance(activation, keras.layers.Layer):
        return replace(_operation_end(activation, shape), where=where)
    name = name_of(activation)
    if name is None:
        given = getattr(activation, "__name__", type(activation).__name__)
        raise UnreadableEndError(where, f"its activation `{given}` is not one of Keras' own")
    if name == "linear":
        _refuse_fixed_weights(layer)
    return _known_end(where, name, shape)


def _refuse_fixed_weights(layer: Any) -> None:
    # Weights that are kept in a range, or are not learned, may well map probabilities to
    # probabilities: the matrix of a mixture, or one that sums classes.
    weights = ("kernel", "bias", "embeddings")
    constrained = any(getattr(layer, f"{weight}_constraint", None) for weight in weights)
    if constrained or not layer.trainable:
        raise UnreadableEndError(layer.name, "it is linear with fixed or constrained weights")


def _parametrized_end(operation: Any, shape: tuple) -> OutputEnd:
    """An activation layer, or an operation of `keras.ops`, with its arguments as attributes."""
    end = _known_end(
        operation.name, BY_CLASS[_squashed(operation)], shape, getattr(operation, "axis", -1)
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
    end = OutputEnd(where, name, *ACTIVATIONS[name])
    if name != "softmax":
        return end
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if len(axes) != 1 or not -len(shape) <= axes[0] < len(shape):
        return end
    return replace(end, axis=axes[0] % len(shape), units=shape[axes[0]])


def _squashed(operation: Any) -> str:
    return type(operation).__name__.lower() if is_keras(operation) else ""
