"""The moving average of the weights of a generator, and how to run the generator with it."""

from typing import Any

import keras
from keras import ops


class WeightAverage:
    """One variable for each weight of `layer`: a mean over the past that forgets by `decay` a step.

    Plain, so that Keras does not count its variables among the weights of the model.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.variables = [
            keras.Variable(ops.convert_to_tensor(weight), dtype=weight.dtype, trainable=False)
            for weight in layer.weights
        ]

    def update(self, decay: float, step: Any) -> None:
        """Take in the weights as they are after training step number `step`, which starts at 1."""
        step = ops.cast(step, "float32")
        # The first weights are no better than any: they are forgotten faster.
        share = 1.0 - ops.minimum(decay, step / (step + 9.0))
        for average, weight in zip(self.variables, self._layer.weights, strict=True):
            if keras.backend.is_float_dtype(weight.dtype):
                change = ops.cast(share, weight.dtype) * (weight.value - average.value)
                average.assign(average.value + change)
            else:
                average.assign(weight.value)

    def call(self, inputs: Any, training: bool) -> Any:
        """What the layer makes of `inputs` with the averaged weights."""
        averaged = {
            id(weight): average.value
            for weight, average in zip(self._layer.weights, self.variables, strict=True)
        }
        trainable, fixed = (
            [averaged.get(id(variable), variable.value) for variable in variables]
            for variables in (self._layer.trainable_variables, self._layer.non_trainable_variables)
        )
        return self._layer.stateless_call(trainable, fixed, inputs, training=training)[0]
