"""Activations: Keras layers with learned parameters, and the pure functions they apply."""

from keras_duo.activations.attention import AttentionActivation, attention_activation
from keras_duo.activations.dynamic import DynamicReLU, dynamic_relu
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
    "AttentionActivation",
    "DynamicReLU",
    "LearnableActivation",
    "MetaAcon",
    "Rational",
    "Snake",
    "Swish",
    "acon",
    "attention_activation",
    "dynamic_relu",
    "learnable_activation",
    "meta_acon",
    "rational",
    "snake",
    "swish",
]
