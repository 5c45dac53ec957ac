"""Where a model applies activations, and how to listen there while it runs."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_duo import activations
from keras_duo._gradients import value_and_slope


@dataclass(frozen=True)
class Site:
    """A layer that applies an activation, the name that it is reported by, and what it lies in.

    `named` tells of a site that the user listed itself.
    """

    name: str
    layer: keras.layers.Layer
    inside: tuple[keras.layers.Layer, ...] = ()
    named: bool = False


@dataclass(frozen=True)
class Reading:
    """What one call of the activation f of a site showed.

    `signal` is what the gradient is to be taken with respect to. `slopes` is f' at each input, None
    where f does not act on each unit by itself. `steepest` is the largest slope of an f that is
    S-shaped, and 0 for one that is not. `axis` holds the units.
    """

    signal: Any
    output: Any
    slopes: Any
    steepest: Any
    axis: int


def activation_sites(model: keras.Model) -> list[Site]:
    """Every layer of a model, at any depth, that applies an activation, also the linear one."""
    found = {id(layer): (layer, inside) for layer, inside in _walk(model, ())}
    shared = Counter(layer.name for layer, _ in found.values())
    return [
        Site(
            "/".join(part.name for part in (*inside[1:], layer))
            if shared[layer.name] > 1
            else layer.name,
            layer,
            inside,
        )
        for layer, inside in found.values()
    ]


def chosen_sites(model: keras.Model, layers: list) -> list[Site]:
    """The sites that a user listed, and those inside of layers or models that were listed.

    A listed layer without any activation is taken as one itself.
    """
    sites = activation_sites(model)
    chosen: dict[str, Site] = {}
    for wanted in layers:
        named = [site for site in sites if wanted in (site.name, site.layer.name, site.layer)]
        around = [
            site
            for site in sites
            if any(wanted in (layer.name, layer) for layer in site.inside[1:])
        ]
        if not named and not around:
            named = [
                Site(layer.name, layer)
                for layer in model._flatten_layers(include_self=False)
                if wanted in (layer.name, layer)
            ]
        if not named and not around:
            raise ValueError(
                "`layers` must hold layers of the model or their names. Those with an activation "
                f"are {[site.name for site in sites]}. Received: {wanted!r}"
            )
        chosen |= {site.name: replace(site, named=True) for site in named}
        chosen = {site.name: site for site in around} | chosen
    return list(chosen.values())


@contextmanager
def listening(sites: list[Site], tap: Callable) -> Iterator[dict[str, list[Reading]]]:
    """Inside the context, each call of an activation leaves a Reading under the name of its site.

    What goes into the activation is replaced by `tap(name, x)` first; of a recurrent layer, which
    applies its activation in a loop, what comes out. The layers are as before when it ends.
    """
    readings: dict[str, list[Reading]] = {}
    with ExitStack() as stack:
        for site in sites:
            layer, method = site.layer, _method(site.layer)
            # Not by `setattr`, at which Keras would track what is set as a part of the layer.
            space = vars(layer)
            if method in space:
                stack.callback(space.update, {method: space[method]})
            else:
                stack.callback(space.pop, method)
            listen = _sequence_listener if isinstance(layer, keras.layers.RNN) else _listener
            note = readings.setdefault(site.name, []).append
            space[method] = listen(getattr(layer, method), layer, partial(tap, site.name), note)
        yield readings


def acts_on_units(site: Site) -> bool:
    """Whether the activation of a site is neither the identity nor runs over units, as softmax."""
    linear = getattr(site.layer, "activation", None) is keras.activations.linear
    return not linear and not _is_across_units(site.layer)


def activation_of(layer: Any) -> Any:
    """What is applied elementwise: a layer that is an activation, or the one that a layer has."""
    if isinstance(layer, _ACTIVATION_LAYERS):
        return layer
    own = getattr(layer, "activation", None)
    return own if callable(own) else layer


# Layers that are an activation: Keras' own, and all of ours.
_ACTIVATION_LAYERS = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
    keras.layers.Softmax,
    *(
        value
        for value in vars(activations).values()
        if isinstance(value, type) and issubclass(value, keras.layers.Layer)
    ),
)
_ACROSS_UNITS = {
    getattr(module, name)
    for module in (keras.activations, ops)
    for name in ("softmax", "log_softmax", "sparsemax")
}
# f' and its maximum where only f(x) is known: a recurrent layer applies f in a loop.
_SLOPE_AT_OUTPUT: dict[Any, tuple[Callable, float]] = {
    keras.activations.tanh: (lambda y: 1.0 - ops.square(y), 1.0),
    keras.activations.sigmoid: (lambda y: y * (1.0 - y), 0.25),
    keras.activations.relu: (lambda y: ops.cast(y > 0, y.dtype), 0.0),
}


def _walk(layer: Any, inside: tuple) -> Iterator[tuple[Any, tuple]]:
    """Each layer that applies an activation, with the layers around it, from the model inwards."""
    activation = vars(layer).get("activation")
    if callable(activation) or _is_activation_as_a_whole(layer):
        yield layer, inside
    if not _is_activation_as_a_whole(layer):
        # Keras has the layers inside a layer under this name only.
        for child in layer._flatten_layers(include_self=False, recursive=False):
            if child is not activation:
                yield from _walk(child, (*inside, layer))


def _is_activation_as_a_whole(layer: Any) -> bool:
    return isinstance(layer, (*_ACTIVATION_LAYERS, keras.layers.RNN))


def _is_across_units(layer: Any) -> bool:
    softmax = isinstance(layer, keras.layers.Softmax)
    return softmax or getattr(layer, "activation", None) in _ACROSS_UNITS


def _method(layer: Any) -> str:
    """The attribute through which a layer applies its activation."""
    own = callable(vars(layer).get("activation")) and not _is_activation_as_a_whole(layer)
    return "activation" if own else "call"


def _listener(function: Callable, layer: Any, tap: Callable, note: Callable) -> Callable:
    across = _is_across_units(layer)

    def listen(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not keras.backend.is_float_dtype(getattr(x, "dtype", "string")):
            raise ValueError(
                "`layers` must hold layers whose input is one tensor of floats. "
                f"Received: {layer.name}"
            )
        x, slopes, steepest = tap(x), None, 0.0
        if across:
            output = function(x, *args, **kwargs)
        else:
            output, slopes = value_and_slope(lambda x: function(x, *args, **kwargs), x)
        # A mask or a second input would not fit the points at which the shape is looked at.
        alone = not args and all(value is None or value is False for value in kwargs.values())
        if slopes is not None and alone:
            steepest = _steepest(function, x)
        note(Reading(x, output, slopes, steepest, _unit_axis(layer, len(x.shape))))
        return output

    return listen


def _sequence_listener(function: Callable, layer: Any, tap: Callable, note: Callable) -> Callable:
    def listen(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        several = isinstance(result, list | tuple)
        output, *states = result if several else [result]
        output = tap(output)
        slope_at, steepest = _SLOPE_AT_OUTPUT.get(
            getattr(layer, "activation", None), (lambda y: None, 0.0)
        )
        axis = _unit_axis(layer, len(output.shape))
        note(Reading(output, output, slope_at(output), steepest, axis))
        return type(result)([output, *states]) if several else output

    return listen


def _steepest(function: Callable, x: Any) -> Any:
    """The largest slope of an S-shaped function: steep in the middle, flat at both ends; else 0."""
    points = ops.convert_to_tensor([-1e3, -0.5, 0.0, 0.5, 1e3], x.dtype)
    points = ops.reshape(points, (-1, *[1] * (len(x.shape) - 1)))
    _, slopes = value_and_slope(function, points + ops.zeros_like(x[:1]))
    slopes = ops.abs(ops.cast(slopes, "float32"))
    low, left, centre, right, high = ops.unstack(ops.mean(ops.reshape(slopes, (5, -1)), axis=-1))
    middle = ops.maximum(ops.maximum(left, right), centre)
    steep = ops.minimum(left, right) > 0.1 * middle
    flat = ops.maximum(low, high) < 1e-3 * middle
    return ops.where(ops.logical_and(steep, flat), middle, 0.0)


def _unit_axis(layer: Any, rank: int) -> int:
    own = getattr(layer, "data_format", None)
    order = own or (keras.config.image_data_format() if rank > 3 else None)
    return 1 if order == "channels_first" else max(rank - 1, 1)
