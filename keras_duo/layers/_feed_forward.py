"""The feed-forward half of a block: out and back at each position, an activation between."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_duo.activations import MetaAcon
from keras_duo.layers._projection import Projecting, WeightOptions


class FeedForward(Projecting):
    """f(x W + b) W' + b'; gated: (f(x W + b) * (x V + c)) W' + b'."""

    def __init__(
        self,
        options: WeightOptions,
        *,
        units: int,
        activation: Callable,
        gated: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(options, **kwargs)
        self.supports_masking = True
        self.units, self.gated = units, gated
        self.activation = activation
        self._takes_mask = (
            isinstance(activation, keras.layers.Layer)
            and "mask" in inspect.signature(activation.call).parameters
        )

    def build(self, inputs_shape: tuple) -> None:
        """Create the maps, and the weights of an activation that has some."""
        size = inputs_shape[-1]
        self.add_projection("hidden", size, self.units)
        if self.gated:
            self.add_projection("gate", size, self.units)
        self.add_projection("output", self.units, size, residual=True)
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build((*inputs_shape[:-1], self.units))

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The output at each position; the mask is for an activation that looks at several."""
        known = {"mask": mask} if self._takes_mask and mask is not None else {}
        hidden = self.activation(self.project("hidden", inputs), **known)
        if self.gated:
            hidden = hidden * self.project("gate", inputs)
        return self.project("output", hidden)


def check_causal(activation: Callable) -> None:
    """Raise where an activation shows each position those behind it."""
    if _pools_positions(activation):
        raise ValueError(
            "`activation` must not take a mean over positions under `use_causal_mask`: each "
            f"position would see those behind it. Received: activation={activation!r}"
        )


def _pools_positions(activation: Any) -> bool:
    if isinstance(activation, MetaAcon) or getattr(activation, "context", None) == "mean":
        return True
    inner = getattr(activation, "activation", None)
    return inner is not None and _pools_positions(inner)
