"""Linear maps as the parts of a block: what they start from, and how they are applied."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_duo.layers._analytic import mapped


@dataclass(frozen=True)
class WeightOptions:
    """What the maps of a block start from, and whether they have biases."""

    use_bias: bool
    kernel_initializer: Any
    residual_initializer: Any
    bias_initializer: Any
    kernel_regularizer: Any


class Projecting(keras.layers.Layer):
    """A layer of named linear maps, `<name>_kernel` and, if wanted, `<name>_bias`."""

    def __init__(self, options: WeightOptions, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = options

    def add_projection(self, name: str, rows: int, columns: int, residual: bool = False) -> None:
        """Create a map; `residual` tells of one whose output is added to the input of the block."""
        options = self.options
        initializer = options.residual_initializer if residual else options.kernel_initializer
        kernel = self.add_weight(
            shape=(rows, columns),
            name=f"{name}_kernel",
            initializer=_fresh(initializer),
            regularizer=options.kernel_regularizer,
        )
        setattr(self, f"{name}_kernel", kernel)
        bias = None
        if options.use_bias:
            bias = self.add_weight(
                shape=(columns,), name=f"{name}_bias", initializer=_fresh(options.bias_initializer)
            )
        setattr(self, f"{name}_bias", bias)

    def project(self, name: str, inputs: Any) -> Any:
        """`inputs` W + b."""
        kernel = ops.convert_to_tensor(getattr(self, f"{name}_kernel"))
        bias = getattr(self, f"{name}_bias")
        return mapped(inputs, kernel, None if bias is None else ops.convert_to_tensor(bias))


def _fresh(initializer: Any) -> Any:
    # An initializer draws the same numbers at each call.
    return initializer.clone() if isinstance(initializer, keras.Initializer) else initializer
