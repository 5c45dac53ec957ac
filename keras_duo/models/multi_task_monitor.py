"""TaskMonitor: the weights and the losses of the tasks, step by step."""

import keras

from keras_duo._validate import integer
from keras_duo.models.multi_task import MultiTask


class TaskMonitor(keras.callbacks.Callback):
    """Callback that notes the weight and the loss of each task of a `MultiTask` every few steps.

    Keras' `History` has the means over each epoch under the same names.

    Args:
        every: Steps from one note to the next.

    Attributes:
        history: Lists under `step`, `<task>_loss` and `<task>_weight`, for `plots.task_weights`.

    Raises:
        ValueError: If `every` is no integer >= 1, or the model is no MultiTask.

    Example:
        >>> import keras, keras_duo, numpy as np
        >>> entry = keras.Input((4,))
        >>> heads = {name: keras.layers.Dense(1, name=name)(entry) for name in ("near", "far")}
        >>> model = keras_duo.MultiTask(keras.Model(entry, heads))
        >>> model.compile("sgd", loss={"near": "mse", "far": "mae"})
        >>> x, monitor = np.ones((8, 4), "float32"), keras_duo.TaskMonitor(every=2)
        >>> y = {"near": np.ones((8, 1)), "far": np.ones((8, 1))}
        >>> _ = model.fit(x, y, batch_size=2, verbose=0, callbacks=[monitor])
        >>> monitor.history["step"]
        [2, 4]
    """

    def __init__(self, every: int = 50) -> None:
        super().__init__()
        self.every = integer(at_least=1)("every", every)
        self.history: dict[str, list[float]] = {}
        self._steps = 0

    def set_model(self, model: keras.Model) -> None:
        """Called by Keras. A model other than the last one starts a new history."""
        if not isinstance(model, MultiTask):
            raise ValueError(f"`model` must be a MultiTask. Received: model={model!r}")
        if model is not self._model:
            self.history, self._steps = {}, 0
        super().set_model(model)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Called by Keras, which names the first of the steps of one execution."""
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Note the weights and losses, if a multiple of `every` steps has been passed."""
        before, self._steps = self._steps, self._steps + batch - self._first + 1
        if self._steps // self.every == before // self.every:
            return
        model = self.model  # on JAX, Keras brings the variables up to date where a callback asks
        figures = {f"{name}_loss": value for name, value in model.task_losses.items()}
        figures |= {f"{name}_weight": value for name, value in model.task_weights.items()}
        for name, value in {"step": self._steps, **figures}.items():
            self.history.setdefault(name, []).append(value)
