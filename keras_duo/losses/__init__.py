"""Losses: a pure function on `keras.ops` each, and the registered Keras class around it."""

from keras_duo.losses.focal import (
    CategoricalFocal,
    Focal,
    SparseCategoricalFocal,
    categorical_focal_loss,
    focal_loss,
    sparse_categorical_focal_loss,
)
from keras_duo.losses.multi_objective import LossMean, MultiObjective

__all__ = [
    "CategoricalFocal",
    "Focal",
    "LossMean",
    "MultiObjective",
    "SparseCategoricalFocal",
    "categorical_focal_loss",
    "focal_loss",
    "sparse_categorical_focal_loss",
]
