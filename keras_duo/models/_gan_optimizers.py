"""The optimizers of a GAN: one for each network, scaled where half precision asks for it."""

from typing import Any

import keras

from keras_duo.models._gan_networks import layers_in


def pair_of(optimizer: Any, generator: Any, discriminator: Any) -> tuple[Any, Any]:
    """The optimizer of the generator and that of the discriminator.

    `optimizer` stands in where one of its own is missing, as a copy, so that none serves two.
    """
    if generator is not None and generator is discriminator:
        raise ValueError(
            "`generator_optimizer` and `discriminator_optimizer` must be two: pass one for both as "
            f"`optimizer`. Received: {generator!r} twice"
        )
    shared = keras.optimizers.Adam(2e-4, beta_1=0.5) if optimizer is None else optimizer
    return (
        _copied("optimizer", shared)
        if generator is None
        else _resolved("generator_optimizer", generator),
        _copied("optimizer", shared)
        if discriminator is None
        else _resolved("discriminator_optimizer", discriminator),
    )


def scaling(optimizer: Any, networks: Any) -> Any:
    """The optimizer, with a loss scale if a layer computes in float16: its gradients underflow."""
    halved = any(
        layer.compute_dtype == "float16" for network in networks for layer in layers_in(network)
    )
    if not halved or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


def _resolved(name: str, given: Any) -> Any:
    try:
        optimizer = keras.optimizers.get(given)
    except (TypeError, ValueError):
        optimizer = None
    if optimizer is None:
        raise ValueError(
            f"`{name}` must be a Keras optimizer or its name. Received: {name}={given!r}"
        )
    if optimizer.use_ema:
        raise ValueError(
            f"`{name}` must not have `use_ema`: pass `ema={optimizer.ema_momentum}` to `compile`. "
            f"Received: {name}={given!r}"
        )
    return optimizer


def _copied(name: str, given: Any) -> Any:
    optimizer = _resolved(name, given)
    return type(optimizer).from_config(optimizer.get_config())
