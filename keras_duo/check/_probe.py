"""A probe batch: what comes out of a model for some examples, and what a loss makes of it.

Nothing of the model changes. It runs in a `StatelessScope`, where no variable can be assigned: no
statistic, no seed. No compiled function, metric or optimizer is touched.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_duo._serialize import reduced_by
from keras_duo.check._gradients import gradients, is_zero

# Enough to see an output that is constant or a loss that is capped, and cheap to run.
_EXAMPLES = 32
# A loss below is that of an example which is right.
_RIGHT = 1e-6


@dataclass(frozen=True)
class Batch:
    """Some examples, spread over all that there are, and all the labels; None: not given."""

    x: Any
    y: Any
    labels: Any


@dataclass(frozen=True)
class Evidence:
    """What one output of the probe batch, and one loss of it, show.

    `kept` is the activation whose logits Keras keeps beside the output. `stopped` examples have a
    loss and a gradient of exactly 0. `learns` is "weights", "biases", "nothing", or "" if unknown.
    """

    examples: int
    value_low: float
    value_high: float
    bad_outputs: int
    constant: bool
    sums_to_one: bool
    kept: str | None
    crossing: int
    bad_losses: int = 0
    stopped: int = 0
    stopped_loss: float = 0.0
    learns: str = ""
    broadcasts: bool = False
    raised: str = ""


def batch_of(x: Any, y: Any = None) -> Batch:
    """Probe examples of arrays, of a tf.data.Dataset, or of a PyDataset.

    Raises:
        TypeError: If `x` is a generator or the like, which cannot give a batch and have it still.
        ValueError: If x and y hold different numbers of examples, or a dataset comes with a `y`.
    """
    if isinstance(x, keras.utils.PyDataset) or hasattr(x, "element_spec"):
        if y is not None:
            raise ValueError("`y` must be None where `x` is a dataset. Received: both")
        first = x[0] if isinstance(x, keras.utils.PyDataset) else next(iter(x))
        x, y, _ = keras.utils.unpack_x_y_sample_weight(first)
    elif isinstance(x, Iterator):
        raise TypeError(
            "`x` must be arrays, a tf.data.Dataset or a keras.utils.PyDataset: a generator would "
            f"miss the batch afterwards. Received: x={x!r}"
        )
    x, y = _arrays(x), _arrays(y)
    sizes = {len(array) for array in (*tree.flatten(x), *tree.flatten(y)) if array is not None}
    if len(sizes) > 1:
        raise ValueError(f"`x` and `y` must hold as many examples each. Received: {sorted(sizes)}")
    count = next(iter(sizes), 0)
    rows = np.unique(np.linspace(0, count - 1, min(count, _EXAMPLES)).round().astype(int))

    def some(structure: Any) -> Any:
        return tree.map_structure(lambda a: None if a is None else a[rows], structure)

    return Batch(some(x), some(y), y)


def outputs_of(model: Any, x: Any, values: list | None = None) -> Any:
    """What the model gives for x, with these values of its trainable variables."""
    mapping = [(variable, variable) for variable in model.variables]
    if values is not None:
        mapping += list(zip(model.trainable_variables, values, strict=True))
    with keras.StatelessScope(state_mapping=mapping):
        return model(x)


def evidence_of(output: Any) -> Evidence:
    """What the values of an output show by themselves."""
    values = _array(output)
    finite = values[np.isfinite(values)]
    rows = values.reshape(len(values), -1)
    several = values.ndim > 1 and values.shape[-1] > 1
    steps = np.diff(values, axis=-1).reshape(len(values), -1) if several else np.zeros((1, 1))
    sums = values.sum(-1) if several else np.zeros(1)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
    return Evidence(
        examples=len(values),
        value_low=low,
        value_high=high,
        bad_outputs=values.size - finite.size,
        constant=len(rows) > 1 and bool((rows == rows[0]).all()),
        sums_to_one=bool(low >= 0 and high <= 1 and (np.abs(sums - 1) < 1e-3).all()),
        kept=_kept_activation(output, values),
        crossing=int((steps < 0).any(axis=-1).sum()),
    )


def loss_evidence(loss: Any, y: Any, output: Any) -> dict[str, Any]:
    """What a loss makes of the labels and an output: fields of `Evidence`."""
    each = _per_example(loss, y, output)
    values = _array(each(y, output))
    found: dict[str, Any] = {"bad_losses": int((~np.isfinite(values)).sum())}
    if y.ndim == 1 and tuple(output.shape[1:]) == (1,):
        aligned = _array(each(y[:, None], output))
        found["broadcasts"] = not np.isclose(values.mean(), aligned.mean(), rtol=1e-4)
    if values.ndim == 0 or len(values) != len(y) or found["bad_losses"]:
        return found
    watched = [output]
    if getattr(output, "_keras_logits", None) is not None:
        watched.append(output._keras_logits)
    slopes = gradients(lambda tensors: ops.sum(each(y, tensors[0])), watched)
    if slopes is None:
        return found
    moved = np.zeros(len(values), bool)
    for slope in slopes:
        if slope is not None:
            moved |= (_array(slope).reshape(len(values), -1) != 0).any(axis=-1)
    losses = values.reshape(len(values), -1).mean(axis=-1)
    stopped = ~moved & (losses > _RIGHT)
    if stopped.any():
        found |= {"stopped": int(stopped.sum()), "stopped_loss": float(losses[stopped].max())}
    return found


def what_learns(model: Any, x: Any, y: Any, index: int, loss: Any) -> str:
    """Which variables get a gradient from one loss of an output; `Evidence.learns`."""
    variables = model.trainable_variables
    if not variables or keras.backend.backend() not in ("tensorflow", "jax"):
        return ""

    def total(values: list) -> Any:
        output = tree.flatten(outputs_of(model, x, values))[index]
        value = ops.sum(_per_example(loss, y, output)(y, output))
        optimizer = getattr(model, "optimizer", None)  # a model within another one has none
        return value if optimizer is None else optimizer.scale_loss(value)

    slopes = gradients(total, [ops.copy(variable) for variable in variables])
    learning = [
        variable
        for variable, slope in zip(variables, slopes or [], strict=True)
        if not is_zero(slope)
    ]
    if not learning:
        return "nothing"
    return "weights" if any(len(variable.shape) > 1 for variable in learning) else "biases"


class _Called(keras.losses.Loss):
    """A loss function in the form that `compile` gives it: labels in the rank of the output."""

    def __init__(self, function: Callable) -> None:
        super().__init__(reduction=None)
        self._function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if len(y_true.shape) + 1 == len(y_pred.shape) and y_pred.shape[-1] == 1:
            y_true = ops.expand_dims(y_true, -1)
        elif len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        return self._function(y_true, y_pred)


def _per_example(loss: Any, y: Any, output: Any) -> keras.losses.Loss:
    """A loss as `compile` accepts it, in the form that is not reduced."""
    if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
        sparse = y.ndim < len(output.shape) or y.shape[-1] == 1 < output.shape[-1]
        kind = "sparse_categorical" if sparse else "categorical"
        loss = f"{'binary' if output.shape[-1] == 1 else kind}_crossentropy"
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    loss = loss() if isinstance(loss, type) else loss
    return reduced_by(loss, None) if isinstance(loss, keras.losses.Loss) else _Called(loss)


def _kept_activation(output: Any, values: np.ndarray) -> str | None:
    """The activation of the logits that Keras keeps beside an output, on TensorFlow."""
    logits = getattr(output, "_keras_logits", None)
    if logits is None or logits.shape != output.shape:
        return None
    for name in ("sigmoid", "softmax"):
        if np.allclose(_array(getattr(ops, name)(logits)), values, atol=1e-3):
            return name
    return None


def _arrays(data: Any) -> Any:
    """The structure of the data, with an array in each place."""
    if data is None:
        return None
    if isinstance(data, dict):
        return {key: _arrays(value) for key, value in data.items()}
    if isinstance(data, list | tuple) and data and all(len(_shape(part)) > 0 for part in data):
        return [_arrays(part) for part in data]
    return np.asarray(data)


def _shape(part: Any) -> tuple:
    """The shape of an array; that of a plain list of numbers is that of a row."""
    return tuple(getattr(part, "shape", ()))


def _array(tensor: Any) -> np.ndarray:
    """A float32 array of what may be half precision."""
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))
