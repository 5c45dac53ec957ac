"""Layers: output heads, and blocks that put the activations to work."""

from keras_duo.layers.positional_embedding import PositionalEmbedding
from keras_duo.layers.quantile_head import QuantileHead
from keras_duo.layers.transformer_block import TransformerBlock

__all__ = ["PositionalEmbedding", "QuantileHead", "TransformerBlock"]
