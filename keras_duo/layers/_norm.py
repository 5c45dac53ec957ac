"""Layer and RMS normalization of the last axis."""

from typing import Any

import keras
from keras import ops

from keras_duo.layers._analytic import normalized


class Norm(keras.layers.Layer):
    """x / sqrt(mean(x^2) + epsilon) * scale; `centred`: of x - mean(x), and with a shift if wanted.

    Scale and shift stay float32 under half-precision policies.
    """

    def __init__(
        self, *, centred: bool, epsilon: float, use_bias: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.centred, self.epsilon, self.use_bias = centred, epsilon, use_bias

    def build(self, input_shape: tuple) -> None:
        """Create scale and shift."""
        size = (input_shape[-1],)
        self.scale = self.add_weight(size, "ones", name="scale", autocast=False)
        self.shift = None
        if self.use_bias and self.centred:
            self.shift = self.add_weight(size, "zeros", name="shift", autocast=False)

    def call(self, inputs: Any) -> Any:
        """The normalized inputs."""
        shift = None if self.shift is None else ops.convert_to_tensor(self.shift)
        scale = ops.convert_to_tensor(self.scale)
        return normalized(inputs, scale, shift, self.epsilon, self.centred)
