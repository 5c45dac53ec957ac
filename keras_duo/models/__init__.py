"""Models that own their training step."""

from keras_duo.models.meta_learner import MetaLearner
from keras_duo.models.meta_model import MetaModel

__all__ = ["MetaLearner", "MetaModel"]
