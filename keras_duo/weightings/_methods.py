"""The methods by name: what each needs, and one way to call them all."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from keras import backend

from keras_duo._validate import checked, parameters_of
from keras_duo.weightings._aligned_mtl import aligned_mtl
from keras_duo.weightings._balanced import balanced
from keras_duo.weightings._cagrad import cagrad
from keras_duo.weightings._dwa import dwa, dwa_start
from keras_duo.weightings._famo import famo, famo_start
from keras_duo.weightings._fixed import fixed
from keras_duo.weightings._gradnorm import gradnorm, gradnorm_start
from keras_duo.weightings._imtl_g import imtl_g
from keras_duo.weightings._inverse import inverse
from keras_duo.weightings._mgda import mgda
from keras_duo.weightings._nash import nash
from keras_duo.weightings._pcgrad import pcgrad
from keras_duo.weightings._random import random
from keras_duo.weightings._uncertainty import uncertainty
from keras_duo.weightings._upgrad import upgrad


@dataclass(frozen=True)
class Method:
    """A weighting. What it takes are the names of its positional parameters."""

    function: Callable
    start: Callable[[int], dict[str, np.ndarray]] | None = None

    @property
    def takes(self) -> tuple[str, ...]:
        """Some of: losses, gramian, draw, log_variances, state."""
        parameters = inspect.signature(self.function).parameters.values()
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return tuple(p.name for p in parameters if p.kind is positional)

    @property
    def by_gradient(self) -> bool:
        """Whether it needs the gradient of each task."""
        return "gramian" in self.takes

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Arguments in their plain form, after the rules of the function have passed them."""
        known = parameters_of(self.function)
        if not isinstance(given, dict) or not set(given) <= set(known):
            raise ValueError(
                f"`weighting_arguments` must be a dictionary with keys from {sorted(known)}. "
                f"Received: weighting_arguments={given!r}"
            )
        return checked(self.function, given)

    def __call__(
        self, available: dict[str, Any], arguments: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The weights and the new state, from whatever of `available` the function takes."""
        function = as_one_kernel(partial(self.function, **arguments))
        result = function(*(available[name] for name in self.takes))
        return result if "state" in self.takes else (result, {})


METHODS = {
    "fixed": Method(fixed),
    "inverse": Method(inverse),
    "uncertainty": Method(uncertainty),
    "dwa": Method(dwa, dwa_start),
    "famo": Method(famo, famo_start),
    "random": Method(random),
    "balanced": Method(balanced),
    "gradnorm": Method(gradnorm, gradnorm_start),
    "mgda": Method(mgda),
    "pcgrad": Method(pcgrad),
    "cagrad": Method(cagrad),
    "imtl_g": Method(imtl_g),
    "aligned_mtl": Method(aligned_mtl),
    "nash": Method(nash),
    "upgrad": Method(upgrad),
}


def as_one_kernel(function: Callable) -> Callable:
    """`function` compiled by XLA where a TensorFlow graph calls it.

    A solver is some hundreds of operations on matrices of a few numbers, of which TensorFlow would
    start one after the other.
    """
    if backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    if tf.executing_eagerly():
        return function
    return tf.function(function, jit_compile=True, autograph=False)
