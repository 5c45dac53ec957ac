"""The two networks of a GAN: whether they fit each other, and what is in them."""

from typing import Any

import keras

from keras_duo._validate import may_be_equal


def connected(generator: Any, discriminator: Any, latent_dim: int) -> tuple[tuple, tuple, bool]:
    """The shapes of examples and scores without the batch axis, and whether labels go in.

    Both networks are called once on symbolic inputs, which builds them.
    """
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        if not isinstance(network, keras.Model):
            raise ValueError(f"`{name}` must be a keras.Model. Received: {name}={network!r}")
    labels = _label_inputs("generator", generator)
    if len(labels) != len(_label_inputs("discriminator", discriminator)):
        raise ValueError(
            "`generator` and `discriminator` must both take labels, or neither. Received: "
            f"generator of {1 + len(labels)} inputs, discriminator of {2 - len(labels)}"
        )
    latent = keras.Input((latent_dim,))
    expected = _shapes(generator)
    if expected and not may_be_equal(expected[0], latent.shape):
        raise ValueError(
            "`latent_dim` must be what the generator takes. "
            f"Received: latent_dim={latent_dim}, generator input {expected[0]}"
        )
    example = generator([latent, *labels] if labels else latent)
    if not hasattr(example, "shape"):
        raise ValueError(f"`generator` must have one output. Received: {example!r}")
    expected = _shapes(discriminator)
    if expected and not may_be_equal(expected[0], example.shape):
        raise ValueError(
            "`discriminator` must take what the generator makes. Received: "
            f"generator output {tuple(example.shape)}, discriminator input {expected[0]}"
        )
    score = discriminator([example, *labels] if labels else example)
    if not hasattr(score, "shape"):
        raise ValueError(f"`discriminator` must have one output. Received: {score!r}")
    return tuple(example.shape[1:]), tuple(score.shape[1:]), bool(labels)


def layers_in(network: Any) -> list:
    """All layers of a network, at any depth."""
    return list(network._flatten_layers())  # public only for the first level


def end_activation(network: Any) -> Any:
    """The activation of the last layer of a Sequential or functional model; None: it has none."""
    last = network
    while isinstance(last, keras.Model | keras.layers.Wrapper):
        if isinstance(last, keras.layers.Wrapper):
            last = last.layer
        elif last.layers:
            last = last.layers[-1]
        else:
            return None
    return getattr(last, "activation", None)


def _shapes(network: Any) -> list[tuple]:
    """The input shapes of a network with a graph; empty where there is none."""
    inputs = getattr(network, "inputs", None) if network.built else None
    return [tuple(tensor.shape) for tensor in inputs or []]


def _label_inputs(name: str, network: Any) -> list:
    """A symbolic tensor for the labels, if the network takes them."""
    inputs = getattr(network, "inputs", None) if network.built else None
    if inputs is None or len(inputs) == 1:
        return []
    if len(inputs) != 2 or not isinstance(network.input, list | tuple):
        raise ValueError(
            f"`{name}` must have one input, or a list of two: the second for the labels. "
            f"Received: {network.input!r}"
        )
    return [keras.Input(batch_shape=inputs[1].shape, dtype=inputs[1].dtype)]
