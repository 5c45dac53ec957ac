"""Activations: Keras layers with learned parameters, and the pure functions they apply."""

from keras_duo.activations.attention import AttentionActivation, attention_activation
from keras_duo.activations.dynamic import DynamicReLU, dynamic_relu
from keras_duo.activations.functional import learnable_activation
from keras_duo.activations.learnable import LearnableActivation

__all__ = [
    "AttentionActivation",
    "DynamicReLU",
    "LearnableActivation",
    "attention_activation",
    "dynamic_relu",
    "learnable_activation",
]
