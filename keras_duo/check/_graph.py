"""The graph of a model as Keras keeps it: who made a tensor, and which operations keep values."""

from typing import Any

from keras_duo.check._activation_table import name_of

DIMENSIONS = ("1D", "2D", "3D")

# What keeps every value, or averages values, and leaves the order of the axes alone.
_KEEPING = {
    "ActivityRegularization",
    "Cast",
    "Dropout",
    "ExpandDims",
    "Flatten",
    "Identity",
    "Masking",
    "RepeatVector",
    "Reshape",
    "Squeeze",
    "StopGradient",
    *(
        f"{name}{d}"
        for name in (
            "AdaptiveAveragePooling",
            "AveragePooling",
            "Cropping",
            "GlobalAveragePooling",
            "SpatialDropout",
        )
        for d in DIMENSIONS
    ),
}

# What keeps values but may tear the classes of a softmax apart.
_TEARING = {
    "GetItem",
    "Moveaxis",
    "Permute",
    "Swapaxes",
    "Transpose",
    *(
        f"{name}{d}"
        for name in ("AdaptiveMaxPooling", "GlobalMaxPooling", "MaxPooling")
        for d in DIMENSIONS
    ),
}


def producer(tensor: Any) -> tuple[Any, list, int]:
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


def keeps_values(operation: Any) -> bool:
    """Whether each value that comes out went in, or is a mean of such."""
    name = type(operation).__name__
    if not is_keras(operation):
        return False
    if name.startswith("UpSampling"):
        # Cubic interpolation overshoots.
        return getattr(operation, "interpolation", "nearest") in ("nearest", "bilinear")
    linear = name == "Activation" and name_of(operation.activation) == "linear"
    return linear or name in _KEEPING or name in _TEARING


def axis_after(axis: int | None, operation: Any, before: tuple, after: tuple) -> int | None:
    """Where an operation that keeps values has put the axis of a softmax; None: torn apart."""
    last = len(before) - 1
    if axis is None or is_a(operation, *_TEARING):
        return None
    if tuple(before) == tuple(after):
        return axis
    whole = axis == last and before[-1] is not None and before[-1] == after[-1]
    return len(after) - 1 if whole else None


def defined_by_keras(model: Any, method: str) -> bool:
    """Whether a method is Keras' own, and so does what Keras documents."""
    owner = next(cls for cls in type(model).__mro__ if method in vars(cls))
    return _in_keras(owner)


def is_a(operation: Any, *names: str) -> bool:
    """Whether an operation is one of these classes of Keras, by name: most are not public."""
    return is_keras(operation) and type(operation).__name__ in names


def is_keras(operation: Any) -> bool:
    """Whether an operation is Keras' own; a subclass may do anything."""
    return _in_keras(type(operation))


def _in_keras(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "keras"
