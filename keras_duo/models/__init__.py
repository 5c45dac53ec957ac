"""Models that own their training step."""

from keras_duo.models.gan import GAN
from keras_duo.models.gan_image_grid import ImageGrid
from keras_duo.models.meta_learner import MetaLearner
from keras_duo.models.meta_model import MetaModel
from keras_duo.models.multi_task import MultiTask
from keras_duo.models.multi_task_monitor import TaskMonitor

__all__ = ["GAN", "ImageGrid", "MetaLearner", "MetaModel", "MultiTask", "TaskMonitor"]
