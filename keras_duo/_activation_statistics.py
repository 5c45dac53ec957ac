"""The statistics of activations as pure functions, and the pass over a batch that measures them."""

import math
from typing import Any

import keras
from keras import ops

from keras_duo._activation_sites import Reading, Site, acts_on_units, listening
from keras_duo._gradients import compiled, random_signs, tapped_gradients

# A slope that lets no more than a thousandth of the gradient through counts as none. It is below
# the 0.01 on the far side of a leaky_relu, which does learn.
DEAD_SLOPE = 1e-3
# An S-shaped activation is saturated where its slope is below this part of its largest.
SATURATED_SLOPE = 0.05


def dead_share(slopes: Any, axis: int = -1, tolerance: float = DEAD_SLOPE) -> Any:
    """The share of units that are active on no example: |slope| <= tolerance everywhere.

    Args:
        slopes: f' at the input of each unit, (examples, ...). The outputs serve as well where f is
            relu, whose output is 0 where its slope is.
        axis: The axis of the units, such as the channels. On the others a unit is the same one.
        tolerance: The slope up to which a unit is not active.

    Returns:
        A scalar in [0, 1].

    Example:
        >>> from keras_duo.monitor import dead_share
        >>> float(dead_share([[0.0, 1.0], [0.0, 0.0]]))
        0.5
    """
    counts = _active_counts(slopes, axis, tolerance)
    return ops.mean(ops.cast(counts == 0, "float32"))


def silent_share(slopes: Any, axis: int = -1, tolerance: float = DEAD_SLOPE) -> Any:
    """The share of units that are expected to be active on no example by chance alone.

    With f1 units active on exactly one example and f2 on two, f1 (f1 - 1) / (2 (f2 + 1)) more are
    expected that fire as rarely and were not met: on too few examples a sparse layer looks dead.

    Args:
        slopes: As for `dead_share`.
        axis: As for `dead_share`.
        tolerance: As for `dead_share`.

    Returns:
        A scalar >= 0, to be taken off `dead_share`; above it, the batch cannot tell.

    Source:
        Chao, Estimating the Population Size for Capture-Recapture Data with Unequal Catchability,
        1987, doi:10.2307/2531532, in its bias-corrected form.

    Example:
        >>> from keras_duo.monitor import silent_share
        >>> float(silent_share([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
        0.25
    """
    counts = _active_counts(slopes, axis, tolerance)
    once, twice = (ops.sum(ops.cast(counts == n, "float32")) for n in (1, 2))
    expected = once * ops.relu(once - 1.0) / (2.0 * (twice + 1.0))
    return expected / ops.cast(ops.size(counts), "float32")


def saturated_share(slopes: Any, steepest: Any, fraction: float = SATURATED_SLOPE) -> Any:
    """The share of outputs at the flat ends of an S-shaped f: |slope| < fraction * steepest.

    Args:
        slopes: f' at the input of each unit, of any shape.
        steepest: The largest slope of f: 1 for tanh, 0.25 for sigmoid. With 0, the result is 0.
        fraction: The part of it below which an output counts. 0.05 is |tanh| > 0.975.

    Returns:
        A scalar in [0, 1].

    Example:
        >>> from keras_duo.monitor import saturated_share
        >>> float(saturated_share([1.0, 0.5, 0.01, 0.0], steepest=1.0))
        0.5
    """
    small = ops.abs(_wide(slopes)) < fraction * ops.cast(steepest, "float32")
    return ops.mean(ops.cast(small, "float32"))


def gradient_norm(gradients: Any) -> Any:
    """The root mean square over the examples of the Euclidean norm of the gradient of each.

    Args:
        gradients: The gradient of the loss of each example, (examples, ...).

    Returns:
        A scalar >= 0.

    Example:
        >>> from keras_duo.monitor import gradient_norm
        >>> float(gradient_norm([[3.0, 4.0], [3.0, 4.0]]))
        5.0
    """
    gradients = _wide(gradients)
    examples = ops.cast(ops.shape(gradients)[0], "float32")
    return ops.sqrt(ops.sum(ops.square(gradients)) / examples)


class Measurement:
    """One forward and one backward pass of a model over a batch, compiled at the first call.

    Attributes:
        names: The sites that are measured, in the order in which the model calls them.
        ends: Those that give an output of the model.
    """

    def __init__(self, model: keras.Model, sites: list[Site]) -> None:
        self.names: list[str] = []
        self.ends: set[str] = set()
        self._model, self._sites = model, sites
        self._pass = self._run if model.run_eagerly else compiled(self._run)

    def __call__(self, x: Any, y: Any) -> tuple[dict[str, float], dict[str, float]]:
        """The figures under their keys in the logs, and the silent share of each site."""
        state = [ops.convert_to_tensor(variable.value) for variable in self._model.variables]
        measured = self._pass(state, x, y)
        figures: dict[str, float] = {}
        silent: dict[str, float] = {}
        for name in self.names:
            gradient, mean, *of_units = ops.convert_to_numpy(measured[name]).tolist()
            figures |= {f"gradient/{name}": gradient, f"mean/{name}": mean}
            if of_units:
                figures[f"dead/{name}"], figures[f"saturated/{name}"], silent[name] = of_units
        first, last = (figures[f"gradient/{self.names[end]}"] for end in (0, -1))
        figures["gradient_ratio"] = first / last if last else math.nan
        return figures, silent

    def _run(self, state: list, x: Any, y: Any) -> dict[str, Any]:
        # With the state as an argument nothing in here changes a variable, a seed or a metric of
        # the model, and JAX does not take the values of today for constants.
        mapping = list(zip(self._model.variables, state, strict=True))
        order: list[str] = []

        def forward(tap: Any) -> tuple[Any, dict]:
            order.clear()

            def named(name: str, x: Any) -> Any:
                order.append(name)
                return tap(x)

            # In a graph the layers are listened to while it is traced, and never again.
            with (
                keras.StatelessScope(mapping, collect_losses=True),
                listening(self._sites, named) as readings,
            ):
                outputs = self._model(x, training=False)
                scalar = _scalar(self._model, x, y, outputs, readings)
            self._choose(order, readings, outputs)
            return scalar, {name: _of_readings(readings[name]) for name in self.names}

        gradients, statistics = tapped_gradients(forward)
        norms = [gradient_norm(gradient) for gradient in gradients]
        return {
            name: ops.stack([_root_of_squares(norms, order, name), *statistics[name]])
            for name in self.names
        }

    def _choose(self, order: list[str], readings: dict[str, list[Reading]], outputs: Any) -> None:
        leaves = keras.tree.flatten(outputs)
        self.ends = {
            name
            for name, calls in readings.items()
            if any(call.output is leaf for call in calls for leaf in leaves)
        }
        kept = {
            site.name
            for site in self._sites
            if site.named or acts_on_units(site) or site.name in self.ends
        }
        self.names = [name for name in dict.fromkeys(order) if name in kept]
        unused = [site.name for site in self._sites if site.named and site.name not in order]
        if unused or not self.names:
            raise ValueError(
                "`layers` must hold layers with an activation, and that the model calls. "
                f"Received: {unused or 'none'}"
            )


def _scalar(model: Any, x: Any, y: Any, outputs: Any, readings: dict) -> Any:
    """The sum over the examples of the loss; without labels, of the outputs under random signs."""
    if y is not None:
        loss = model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=None)
        return keras.tree.flatten(x)[0].shape[0] * loss
    # Before its own activation, because a confident softmax would let no gradient through.
    before = {id(call.output): call.signal for calls in readings.values() for call in calls}
    ends = [before.get(id(leaf), leaf) for leaf in keras.tree.flatten(outputs)]
    return sum(ops.sum(_wide(random_signs(end)) * _wide(end)) for end in ends)


def _of_readings(calls: list[Reading]) -> list:
    """Mean; and dead, saturated and silent share, where the activation acts on each unit."""
    mean = ops.mean(ops.stack([ops.mean(_wide(call.output)) for call in calls]))
    if any(call.slopes is None for call in calls):
        return [mean]
    peaks = ops.concatenate([_peaks(call.slopes, call.axis) for call in calls])
    saturated = [saturated_share(call.slopes, call.steepest) for call in calls]
    return [mean, dead_share(peaks), ops.mean(ops.stack(saturated)), silent_share(peaks)]


def _root_of_squares(norms: list, order: list[str], name: str) -> Any:
    own = [norm for norm, site in zip(norms, order, strict=True) if site == name]
    return ops.sqrt(sum(ops.square(norm) for norm in own))


def _peaks(slopes: Any, axis: int) -> Any:
    """The largest |slope| of each unit at each example, (examples, units)."""
    slopes = ops.abs(_wide(slopes))
    if len(slopes.shape) == 1:
        slopes = ops.expand_dims(slopes, -1)
    slopes = ops.moveaxis(slopes, axis, -1)
    return ops.max(ops.reshape(slopes, (ops.shape(slopes)[0], -1, slopes.shape[-1])), axis=1)


def _active_counts(slopes: Any, axis: int, tolerance: float) -> Any:
    """For each unit, the number of examples at which it is active."""
    return ops.sum(ops.cast(_peaks(slopes, axis) > tolerance, "int32"), axis=0)


def _wide(x: Any) -> Any:
    return ops.cast(ops.convert_to_tensor(x), "float32")
