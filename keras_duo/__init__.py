"""The pair that decides what a network learns: the activation inside it and the loss at its end."""

from keras_duo import activations, layers, losses, metrics, models, plots
from keras_duo._version import __version__
from keras_duo.activations import *  # noqa: F403
from keras_duo.check import Finding, PairCheck, check
from keras_duo.layers import *  # noqa: F403
from keras_duo.losses import *  # noqa: F403
from keras_duo.metrics import *  # noqa: F403
from keras_duo.models import *  # noqa: F403
from keras_duo.monitor import ActivationMonitor
from keras_duo.pairs import Pair, recommend, recommend_from

__all__ = [
    "ActivationMonitor",
    "Finding",
    "Pair",
    "PairCheck",
    "__version__",
    "activations",
    "check",
    "layers",
    "losses",
    "metrics",
    "models",
    "plots",
    "recommend",
    "recommend_from",
    *activations.__all__,
    *layers.__all__,
    *losses.__all__,
    *metrics.__all__,
    *models.__all__,
]
