"""Activations: Keras layers with learned parameters, and the pure functions they apply."""

from keras_duo.activations.functional import learnable_activation
from keras_duo.activations.learnable import LearnableActivation

__all__ = ["LearnableActivation", "learnable_activation"]
