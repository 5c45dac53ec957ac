"""The pair that decides what a network learns: the activation inside it and the loss at its end."""

from keras_duo import activations, losses
from keras_duo._version import __version__
from keras_duo.activations import *  # noqa: F403
from keras_duo.losses import *  # noqa: F403

__all__ = ["__version__", "activations", "losses", *activations.__all__, *losses.__all__]
