"""Layers: output heads, and blocks that put the activations to work."""

from keras_duo.layers.quantile_head import QuantileHead

__all__ = ["QuantileHead"]
