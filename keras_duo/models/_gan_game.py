"""What a loss makes the two networks play, and what about the networks does not fit it."""

import inspect
import warnings
from typing import Any

import keras
from keras import ops

from keras_duo._serialize import reduced_by
from keras_duo.losses._logits import wide_float
from keras_duo.models._gan_networks import end_activation, layers_in


class Game:
    """The two scalars that a loss gives for the scores of real and of fake examples."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss
        self._is_game = hasattr(loss, "discriminator_loss") and hasattr(loss, "generator_loss")
        if not self._is_game and isinstance(loss, keras.losses.Loss):
            if loss.reduction not in ("sum_over_batch_size", "mean"):
                raise ValueError(
                    "`loss` must average over the batch. "
                    f"Received: loss={loss!r} with reduction={loss.reduction!r}"
                )
            self._loss = reduced_by(loss, None)

    @property
    def from_logits(self) -> bool | None:
        """Whether the loss takes raw scores, and not probabilities; None where it does not say."""
        if self._is_game:
            return True
        if inspect.isfunction(self._loss):
            parameter = inspect.signature(self._loss).parameters.get("from_logits")
            return parameter.default if parameter else None
        options = getattr(self._loss, "_fn_kwargs", {})
        return getattr(self._loss, "from_logits", options.get("from_logits"))

    def discriminator(self, real: Any, fake: Any) -> Any:
        """What the discriminator minimises: real taken for 1, plus fake taken for 0."""
        if self._is_game:
            return self._loss.discriminator_loss(real, fake)
        return self._mean(ops.ones_like(real), real) + self._mean(ops.zeros_like(fake), fake)

    def generator(self, fake: Any, real: Any) -> Any:
        """What the generator minimises: fake taken for 1, unless the loss has a form of its own."""
        if self._is_game:
            return self._loss.generator_loss(fake, real_output=real)
        return self._mean(ops.ones_like(fake), fake)

    def _mean(self, labels: Any, scores: Any) -> Any:
        return ops.mean(wide_float(self._loss(labels, scores)))


def resolve_loss(loss: Any) -> Any:
    """The loss that a user passed or named."""
    found = keras.losses.get(loss) if isinstance(loss, str) else loss
    is_named = isinstance(loss, str) and callable(found)
    if not (is_named or isinstance(found, keras.losses.Loss)):
        raise ValueError(
            "`loss` must be an adversarial loss of keras_duo, a Keras loss or its name. "
            f"Received: loss={loss!r}"
        )
    return found


def warn_of_misfits(discriminator: Any, game: Game, penalised: bool) -> None:
    """Warn of what trains, and trains something else than was meant."""
    end = end_activation(discriminator)
    if game.from_logits is True and end is keras.activations.sigmoid:
        warnings.warn(
            "The discriminator ends in a sigmoid, but the loss takes raw scores. Drop the sigmoid.",
            stacklevel=4,
        )
    if game.from_logits is False and end is keras.activations.linear:
        warnings.warn(
            "The discriminator ends in a linear layer, but the loss takes probabilities: a score "
            "outside [0, 1] is clipped and has no gradient. Take a loss with `from_logits=True`.",
            stacklevel=4,
        )
    batch_statistics = keras.layers.BatchNormalization
    if penalised and any(isinstance(layer, batch_statistics) for layer in layers_in(discriminator)):
        warnings.warn(
            "The discriminator has BatchNormalization, under which the gradient of one score "
            "reaches all examples of the batch, and a gradient penalty takes it for the slope at "
            "one. Use LayerNormalization or none.",
            stacklevel=4,
        )
