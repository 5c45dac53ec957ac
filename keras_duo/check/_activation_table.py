"""What is known of the activations of Keras: their kind and bounds, and how a graph names them."""

import math
from collections.abc import Callable
from typing import Any

import keras

ANY = (-math.inf, math.inf)
UNIT = (0.0, 1.0)

# name in keras.activations: (kind, lower bound, upper bound)
ACTIVATIONS: dict[str, tuple[str, float, float]] = {
    "linear": ("linear", *ANY),
    "softmax": ("softmax", *UNIT),
    "sigmoid": ("sigmoid", *UNIT),
    "hard_sigmoid": ("sigmoid", *UNIT),
    "sparse_sigmoid": ("sigmoid", *UNIT),
    "log_softmax": ("log-probability", -math.inf, 0.0),
    "log_sigmoid": ("log-probability", -math.inf, 0.0),
    "tanh": ("bounded", -1.0, 1.0),
    "hard_tanh": ("bounded", -1.0, 1.0),
    "softsign": ("bounded", -1.0, 1.0),
    "relu": ("rectified", 0.0, math.inf),
    "relu6": ("rectified", 0.0, 6.0),
    "softplus": ("positive", 0.0, math.inf),
    "squareplus": ("positive", 0.0, math.inf),
    "sparse_plus": ("positive", 0.0, math.inf),
    "exponential": ("positive", 0.0, math.inf),
    # Lower bounds below are the minima of the functions, rounded down.
    "leaky_relu": ("leaky", *ANY),
    "elu": ("leaky", -1.0, math.inf),
    "celu": ("leaky", -1.0, math.inf),
    "selu": ("leaky", -1.759, math.inf),
    "gelu": ("leaky", -0.171, math.inf),
    "silu": ("leaky", -0.279, math.inf),
    "mish": ("leaky", -0.309, math.inf),
    "hard_silu": ("leaky", -0.375, math.inf),
    "soft_shrink": ("leaky", *ANY),
    "hard_shrink": ("leaky", *ANY),
    "tanh_shrink": ("leaky", *ANY),
}

_BY_FUNCTION: dict[Callable, str] = {
    getattr(module, name): name
    for module in (keras.ops, keras.activations)
    for name in ACTIVATIONS
    if hasattr(module, name)
}

# Operations of `keras.ops` have no public classes. The names of their classes, and those of the
# activation layers, are the names above without underscores.
BY_CLASS = {name.replace("_", ""): name for name in ACTIVATIONS} | {
    "exp": "exponential",
    "prelu": "leaky_relu",
}


def name_of(activation: Any) -> str | None:
    """The name in `ACTIVATIONS` of a function of Keras, or of its backend's own by that name."""
    try:
        known = _BY_FUNCTION.get(activation)
    except TypeError:  # a callable that cannot be a key
        return None
    if known is not None:
        return known
    package = (getattr(activation, "__module__", None) or "").split(".")[0]
    if package not in ("tensorflow", "jax"):
        return None
    # TensorFlow tells its second forms by a suffix, as softmax_v2.
    name = getattr(activation, "__name__", "").removesuffix("_v2")
    return name if name in ACTIVATIONS else None
