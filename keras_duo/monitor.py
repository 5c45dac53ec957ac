"""ActivationMonitor: dead units, saturated units and the gradient of each layer, while it trains.

`docs/monitor.md` has the formulas, the thresholds behind the messages, and the remedies.
"""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
from keras import backend, ops

from keras_duo._activation_sites import activation_sites, chosen_sites
from keras_duo._activation_statistics import (
    Measurement,
    dead_share,
    gradient_norm,
    saturated_share,
    silent_share,
)
from keras_duo._gradients import DIFFERENTIABLE
from keras_duo._validate import Rule, flag, integer

__all__ = ["ActivationMonitor", "dead_share", "gradient_norm", "saturated_share", "silent_share"]


class ActivationMonitor(keras.callbacks.Callback):
    """Callback that measures dead and saturated units and the gradient on a fixed probe batch.

    At the end of each epoch it adds to Keras' `logs`, and so to `History`, for each layer:

    - `dead/<layer>`: share of units whose |f'| <= 0.001 at every example (for relu: never active);
    - `saturated/<layer>`: share of outputs at the flat ends of an S-shaped activation, such as
      sigmoid and tanh; 0 for one of another form;
    - `mean/<layer>`: mean of the outputs of the activation;
    - `gradient/<layer>`: root mean square over the examples of ||dL/ds||, where s is what goes into
      the activation;

    and `gradient_ratio`, that of the first layer over that of the last. A unit is a channel.
    softmax has neither of the first two; a recurrent layer is measured at its outputs, with f'
    taken from them. The model runs as in inference and is left as it is. A measurement is one
    forward and one backward pass, traced once for each `fit`; the probe has to fit in memory.

    Args:
        x: The probe: inputs as the model takes them, like the training data, in one batch. Some
            hundreds of examples: on fewer, rare units cannot be told from dead ones, and no message
            comes.
        y: The labels of the probe. None: there is no loss, and the gradient is that of the outputs
            under fixed random signs (before their own activation, where a layer has one).
        layers: The layers to measure, or their names; a layer or model with others in it stands for
            those. None: every layer with an activation that acts on each unit by itself, also in
            nested models, and the layers that give the outputs.
        every: Measure every so many training steps as well. These are in `history` and in
            TensorBoard alone.
        log_dir: A folder for TensorBoard. None: nothing is written.
        verbose: Whether to print `summary()` at the end of training.

    Attributes:
        history: The measurements: a list for each key, and for `step` (with `every`) or `epoch`.

    Raises:
        ValueError: If an argument is not valid, or `layers` names what the model does not have.
        NotImplementedError: On a backend other than TensorFlow and JAX.

    Source:
        Gradient and saturation over the layers: Glorot and Bengio, Understanding the Difficulty of
        Training Deep Feedforward Neural Networks, 2010, PMLR 9:249-256. Dead units: Lu et al.,
        Dying ReLU and Initialization, 2019, arXiv:1903.06733.

    Example:
        >>> import keras, keras_duo, numpy as np
        >>> x, y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
        >>> layer = keras.layers.Dense(4, "relu", bias_initializer="ones", name="hidden")
        >>> layers = [keras.Input((2,)), layer, keras.layers.Dense(1)]
        >>> model = keras.Sequential(layers)
        >>> model.compile(keras.optimizers.SGD(0.0), loss="mse")
        >>> monitor = keras_duo.ActivationMonitor(x, y)
        >>> model.fit(x, y, verbose=0, callbacks=[monitor]).history["saturated/hidden"]
        [0.0]
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        layers: Any = None,
        every: int | None = None,
        log_dir: str | Path | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        if backend.backend() not in DIFFERENTIABLE:
            raise NotImplementedError(
                "ActivationMonitor needs the TensorFlow or the JAX backend. "
                f"Received: backend={backend.backend()!r}"
            )
        self._probe = _tensors("x", x), None if y is None else _tensors("y", y)
        sizes = {leaf.shape[0] for leaf in keras.tree.flatten(self._probe) if leaf is not None}
        if len(sizes) > 1:
            raise ValueError(
                "`x` and `y` must hold the same number of examples. "
                f"Received: {sorted(sizes)} examples"
            )
        self.every = Rule("be None or an integer >= 1", _interval)("every", every)
        self.log_dir = log_dir
        self.verbose = flag()("verbose", verbose)
        self.history: dict[str, list[float]] = {}
        if every is not None:
            # Only then: Keras waits for the logs of every step if a callback has this method.
            self.on_train_batch_end = partial(self._after_step, every)
        if layers is not None and not isinstance(layers, list | tuple):
            raise ValueError(
                f"`layers` must be None or a list of layers or names. Received: layers={layers!r}"
            )
        self._layers = layers if layers is None else list(layers)
        self._steps = self._steps_before_epoch = 0
        self._silent: dict[str, float] = {}
        self._writer: Any = None

    def set_model(self, model: keras.Model) -> None:
        """Called by Keras. A model other than the last one starts a new history."""
        if model is not self._model:
            self.history = {}
        super().set_model(model)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Find the layers, so that an unknown one is an error before the training."""
        model, wanted = self.model, self._layers
        sites = activation_sites(model) if wanted is None else chosen_sites(model, wanted)
        self._measurement = Measurement(model, sites)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Measure, and add the figures to `logs`."""
        self._steps_before_epoch = self._steps
        figures = self._figures(epoch if self.every is None else self._steps)
        if logs is not None:
            logs.update(figures)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Print the summary, if `verbose`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.verbose:
            for message in self.summary():
                print(message)

    def summary(self) -> list[str]:
        """What is wrong at the last measurement: the layer, what it suffers from, and a remedy.

        Empty if nothing is, or nothing has been measured yet.
        """
        return list(self._messages()) if self.history else []

    def _after_step(self, every: int, batch: int, logs: dict | None = None) -> None:
        before, self._steps = self._steps, self._steps_before_epoch + batch + 1
        if self._steps // every > before // every:
            self._figures(self._steps)

    def _figures(self, now: int) -> dict[str, float]:
        """The figures of this moment, which from now on are in the history and in TensorBoard."""
        clock = "epoch" if self.every is None else "step"
        if clock == "step" and self.history.get(clock, [None])[-1] == now:
            return {key: values[-1] for key, values in self.history.items() if key != clock}
        _ = self.model  # on JAX, Keras brings the variables up to date where a callback asks
        figures, self._silent = self._measurement(*self._probe)
        for key, value in {clock: now, **figures}.items():
            self.history.setdefault(key, []).append(value)
        if self.log_dir is not None:
            self._write(figures, now)
        return figures

    def _write(self, figures: dict[str, float], now: int) -> None:
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        # What `tf.summary.scalar` writes; that one needs TensorBoard to be installed here as well.
        scalars = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        metadata = tf.compat.v1.SummaryMetadata(plugin_data=scalars)
        with self._writer.as_default(step=now):
            for key, value in figures.items():
                tf.summary.write(key, tf.constant(value, tf.float32), metadata=metadata)

    def _messages(self) -> Iterator[str]:
        last = {key: values[-1] for key, values in self.history.items()}
        names, ends = self._measurement.names, self._measurement.ends
        enough = keras.tree.flatten(self._probe)[0].shape[0] >= FEW_EXAMPLES
        blocked = False
        for name in names:
            dead, saturated = last.get(f"dead/{name}", 0.0), last.get(f"saturated/{name}", 0.0)
            if not math.isfinite(last[f"mean/{name}"] + last[f"gradient/{name}"]):
                yield f"The outputs or the gradient of {name} are not finite: {_REMEDIES['broken']}"
                return
            if saturated > 0 and name in ends:
                continue  # an output may be sure of its answer
            if saturated > MUCH_SATURATED:
                of = f"{100 * saturated:.0f} % of the outputs of {name}"
                yield f"{of} are saturated: {_REMEDIES['saturated']}"
            elif enough and dead - self._silent.get(name, 0.0) > MANY_DEAD:
                of = f"{100 * dead:.0f} % of the units of {name}"
                yield f"{of} are dead: {_REMEDIES['saturated' if saturated else 'dead']}"
            blocked = blocked or dead == 1.0
        ratio = last["gradient_ratio"]
        way = "vanishing" if ratio < 1 / FAR_RATIO else "exploding" if ratio > FAR_RATIO else None
        if way is not None and not blocked:
            of = f"The gradient at {names[0]} is {ratio:.1g} times that at {names[-1]}"
            yield f"{of}: {_REMEDIES[way]}"


# Where a message begins. Healthy networks stay below (docs/monitor.md has what was measured).
FEW_EXAMPLES = 64
MANY_DEAD = 0.25
MUCH_SATURATED = 0.75
FAR_RATIO = 1e3

_REMEDIES = {
    "dead": "lower the learning rate, start from biases of 0, or use an activation that is flat "
    "nowhere, such as leaky_relu or PReLU.",
    "saturated": "scale the inputs, start from smaller weights, put BatchNormalization before the "
    "activation, or use relu or gelu.",
    "vanishing": "use relu or gelu with he_normal kernels, BatchNormalization or skip connections.",
    "exploding": "start from smaller weights, put normalization between the layers, or clip the "
    "gradient (clipnorm=1.0 in the optimizer).",
    "broken": "lower the learning rate, clip the gradient (clipnorm=1.0 in the optimizer), or look "
    "for values in the data that are not finite.",
}


def _interval(value: Any) -> int | None:
    if value is not None and integer().convert(value) < 1:
        raise ValueError
    return value


def _tensors(name: str, value: Any) -> Any:
    """The arrays of a probe as tensors, floats in Keras' float type as in `fit`."""

    def tensor(leaf: Any) -> Any:
        if not getattr(leaf, "shape", ()) or not hasattr(leaf, "dtype"):
            raise ValueError(
                f"`{name}` must be an array with one row an example, or hold such arrays in a "
                f"list, tuple or dictionary. Received: {type(leaf).__name__}"
            )
        is_float = backend.is_float_dtype(backend.standardize_dtype(leaf.dtype))
        return ops.convert_to_tensor(leaf, keras.config.floatx() if is_float else None)

    return keras.tree.map_structure(tensor, value)
