"""Activations: Keras layers with learned parameters, and the pure functions they apply."""

from keras_duo.activations.functional import (
    acon,
    learnable_activation,
    meta_acon,
    rational,
    snake,
    swish,
)
from keras_duo.activations.learnable import LearnableActivation
from keras_duo.activations.pade import Rational
from keras_duo.activations.periodic import Snake
from keras_duo.activations.self_gated import Acon, MetaAcon, Swish

__all__ = [
    "Acon",
    "LearnableActivation",
    "MetaAcon",
    "Rational",
    "Snake",
    "Swish",
    "acon",
    "learnable_activation",
    "meta_acon",
    "rational",
    "snake",
    "swish",
]
