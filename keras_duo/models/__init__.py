"""Models that own their training step."""

from keras_duo.models.multi_task import MultiTask
from keras_duo.models.multi_task_monitor import TaskMonitor

__all__ = ["MultiTask", "TaskMonitor"]
