"""What the activations with learned parameters share: creation, broadcasting and config."""

import numbers
import warnings
from typing import Any

import keras
from keras import ops

from keras_duo._validate import channel_count, integer, number, optional


class ParametricActivation(keras.layers.Layer):
    """A layer around a pure function of the input and of parameters, one or one for each channel.

    A subclass names each parameter once, by `add_parameter` in its constructor, and reads them all
    by `parameters_for(inputs)` in `call`. The attributes `<name>_initializer`, `<name>_regularizer`
    and `<name>_constraint`, and their place in the config, follow.

    Parameters stay float32 under half-precision policies: the functions compute in float32.
    """

    def __init__(self, axis: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.axis = optional(integer())("axis", axis)
        self._declared: tuple[str, ...] = ()
        self._parameters: tuple[tuple[str, tuple], ...] = ()

    def declare(self, name: str, initializer: Any, regularizer: Any, constraint: Any) -> None:
        """Keep the arguments of a weight that `create` makes."""
        setattr(self, f"{name}_initializer", _initializer(f"{name}_initializer", initializer))
        setattr(self, f"{name}_regularizer", keras.regularizers.get(regularizer))
        setattr(self, f"{name}_constraint", keras.constraints.get(constraint))
        self._declared = (*self._declared, name)

    def add_parameter(
        self, name: str, initializer: Any, regularizer: Any, constraint: Any, shape: tuple = ()
    ) -> None:
        """Declare a parameter of `shape`, or of `shape` for each channel where `axis` names one."""
        self.declare(name, initializer, regularizer, constraint)
        self._parameters = (*self._parameters, (name, shape))
        if self.axis is None:
            # In the constructor, because Keras does not build a layer that another one holds as
            # `activation=` before the first call: too late for who lists the weights up front.
            self.create(name, shape)
            self.built = True

    def create(self, name: str, shape: tuple) -> None:
        """Make the weight that was declared under `name`."""
        variable = self.add_weight(
            shape=shape,
            name=name,
            initializer=self.initializer_for(name),
            regularizer=getattr(self, f"{name}_regularizer"),
            constraint=getattr(self, f"{name}_constraint"),
            autocast=False,
        )
        setattr(self, name, variable)

    def initializer_for(self, name: str) -> Any:
        """What fills a declared weight."""
        return getattr(self, f"{name}_initializer")

    def build(self, input_shape: tuple) -> None:
        """Create the parameters of each channel, where `axis` names a channel axis."""
        if self.axis is None:
            return
        channels = channel_count(self.axis, input_shape)
        for name, shape in self._parameters:
            self.create(name, (*shape, channels))
        # Parameters of 8 channels would broadcast an input of 1.
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={self.axis: channels})

    def parameters_for(self, inputs: Any) -> list[Any]:
        """The parameters in the order of their naming, each to be broadcast against `inputs`."""
        tensors = [ops.convert_to_tensor(getattr(self, name)) for name, _ in self._parameters]
        rank = len(inputs.shape)
        if self.axis in (None, -1, rank - 1):
            return tensors
        behind = [1] * (rank - 1 - self.axis % rank)
        return [ops.reshape(tensor, [*tensor.shape, *behind]) for tensor in tensors]

    @property
    def variables(self) -> list[Any]:
        """The variables of the layer; a warning where they are still to be made."""
        self._warn_if_listed_too_early()
        return super().variables

    @property
    def weights(self) -> list[Any]:
        """The weights of the layer; a warning where they are still to be made."""
        self._warn_if_listed_too_early()
        return super().weights

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {
            **super().get_config(),
            "axis": self.axis,
            **{
                f"{name}_{kind}": keras.saving.serialize_keras_object(
                    getattr(self, f"{name}_{kind}")
                )
                for name in self._declared
                for kind in ("initializer", "regularizer", "constraint")
            },
        }

    def _warn_if_listed_too_early(self) -> None:
        if self.axis is not None and not self.built:
            warnings.warn(
                f"{self.name} has parameters for each channel and no weights before its first "
                "call: a list of weights, a summary or a file made now lacks them, and a training "
                "loop that keeps the list does not train them. Call the model on a batch first, or "
                f"build the activation: `activation.build((None, channels))`, axis={self.axis}.",
                stacklevel=3,
            )


def _initializer(name: str, value: Any) -> Any:
    """A Keras initializer from one, from its name, or from the number that it fills in."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return keras.initializers.Constant(number()(name, value))
    try:
        return keras.initializers.get(value)
    except ValueError:
        raise ValueError(
            f"`{name}` must be a finite number, or what `keras.initializers.get` takes. "
            f"Received: {name}={value!r}"
        ) from None
