"""Pictures of activations, of losses, and of the health of a training run.

Each function returns a `matplotlib.figure.Figure` that belongs to the caller: nothing is shown, and
the state of pyplot is not touched. matplotlib comes with `pip install "keras-duo[plots]"`.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_duo._activation_sites import activation_of
from keras_duo._gradients import compiled, value_and_slope
from keras_duo._loss_forms import LossForm, loss_form, named_losses
from keras_duo._serialize import resolve_activation

__all__ = ["activation_curve", "activation_health", "loss_curve", "task_weights"]


def activation_curve(layer: Any, limits: tuple[float, float] = (-4.0, 4.0)) -> Any:
    """An activation and its derivative, before and after training.

    "Before" is a new layer of the same arguments, with initial weights. Of an activation with
    parameters for each channel up to 24 channels are drawn, and in bold their median. An activation
    that looks at its whole input is drawn at inputs that are the same everywhere.

    Args:
        layer: An activation: a layer that is one or has one as its `activation`, a function, or a
            name from `keras.activations`.
        limits: The interval of inputs to draw.

    Returns:
        A Figure with two axes, output and slope against the input.

    Raises:
        ValueError: If `layer` is no activation, or has no weights yet.
        ImportError: Without matplotlib.

    Example:
        >>> import keras_duo
        >>> figure = keras_duo.plots.activation_curve("gelu")
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['output f(x)', 'slope df/dx']
    """
    try:
        activation = resolve_activation(activation_of(layer))
    except ValueError:
        raise ValueError(
            "`layer` must be a layer, a function, or a name from `keras.activations`. "
            f"Received: layer={layer!r}"
        ) from None
    x = _points(limits)
    curves = _activation_curves(activation, x)
    learned = isinstance(activation, keras.layers.Layer) and bool(activation.weights)
    before = _activation_curves(_untrained(activation), x) if learned else None
    name = getattr(activation, "name", None) or getattr(activation, "__name__", "activation")
    figure, panels = _figure(2, name)
    for number, (panel, label) in enumerate(zip(panels, _ACTIVATION_LABELS, strict=True)):
        channels = curves[number]
        count = channels.shape[1]
        if count > 1:
            drawn = np.unique(np.linspace(0, count - 1, 24).astype(int))
            lines = panel.plot(x, channels[:, drawn], color="tab:blue", alpha=0.35, linewidth=0.8)
            lines[0].set_label(f"{len(drawn)} of {count} channels, after")
        if before is not None:
            start = np.median(before[number], axis=1)
            panel.plot(x, start, color="black", linestyle="--", zorder=3, label="before training")
        after = f"median of {count} channels, after" if count > 1 else "after training"
        middle = np.median(channels, axis=1)
        panel.plot(x, middle, color="tab:blue", linewidth=2.5, label=after if learned else name)
        panel.set(xlabel="input x", ylabel=label, xlim=limits)
        panel.legend()
    return figure


def loss_curve(loss: Any, activation: Any = None, limits: tuple[float, float] = (-8.0, 8.0)) -> Any:
    """A loss, and its gradient, against what goes into the output activation that belongs to it.

    That is a logit, a score or a prediction z of one unit; of a loss of several classes, the logit
    of one class while the others are at 0 (two classes). Solid: label 1, or the target. Dashed:
    label 0. Values and gradients are those of the training step, on the TensorFlow backend also
    where the loss takes the logits behind a sigmoid or softmax.

    Args:
        loss: A loss, its name in `keras.losses`, or a function of `(y_true, y_pred)`; a list of
            them, or a dictionary with their names in the picture, to compare.
        activation: The output activation, for all of the losses: a function, a layer or a name.
            None: the one that belongs to each loss of Keras and of keras_duo.
        limits: The interval of z to draw.

    Returns:
        A Figure with two axes, loss and gradient against z.

    Raises:
        ValueError: If a loss judges whole boxes, maps or vectors, or `activation` is needed.
        ImportError: Without matplotlib.

    Example:
        >>> import keras_duo
        >>> figure = keras_duo.plots.loss_curve(["binary_crossentropy", keras_duo.Focal()])
        >>> [text.get_text() for text in figure.legends[0].get_texts()][:2]
        ['binary_crossentropy on sigmoid', 'Focal on sigmoid']
    """
    z = _points(limits)
    figure, (left, right) = _figure(2)
    inputs, two_labels = [], False
    losses = named_losses(loss)
    for index, (name, one) in enumerate(losses.items()):
        form = loss_form(one, activation)
        inputs.append(form.input)
        for target, style in zip(form.targets, ("-", "--"), strict=False):
            value, slope = _loss_curves(one, form, target, z)
            # The first lines are the widest, so that none hides another that is equal to it.
            width = min(1.5 + 0.5 * (len(losses) - 1 - index), 4.0)
            line = {"color": f"C{index}", "linestyle": style, "linewidth": width}
            described = f"{name} on {form.described()}"
            left.plot(z, value, **line, label=described if style == "-" else None)
            right.plot(z, slope, **line)
            two_labels = two_labels or style == "--"
    if two_labels:
        for label, style in (("label 1", "-"), ("label 0", "--")):
            left.plot([], [], color="black", linestyle=style, label=label)
    name = inputs[0] if len(set(inputs)) == 1 else "logit, score or prediction z"
    left.set(xlabel=name, ylabel="loss", xlim=limits)
    right.set(xlabel=name, ylabel="gradient d loss / dz", xlim=limits)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def activation_health(history: Any) -> Any:
    """Dead units, saturated outputs and gradients of each layer, as `ActivationMonitor` saw them.

    A gradient that is 0 has no place on the logarithmic axis: its line leaves the picture at the
    bottom.

    Args:
        history: What `fit` returned, its `history` dictionary, or the monitor itself, which also
            has the measurements between the epochs.

    Returns:
        A Figure with three axes over the epochs or steps. Layers run from dark to light.

    Raises:
        ValueError: If there is nothing of an ActivationMonitor in `history`.
        ImportError: Without matplotlib.

    Example:
        >>> import keras_duo
        >>> figure = keras_duo.plots.activation_health({"dead/dense": [0, 0.5], "loss": [2, 1]})
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [0.0, 50.0]
    """
    series = getattr(history, "history", history)
    series = series if isinstance(series, dict) else {}
    kinds = [
        {key.partition("/")[2]: v for key, v in series.items() if key.startswith(f"{kind}/")}
        for kind, *_ in _HEALTH
    ]
    layers = list(dict.fromkeys(name for found in reversed(kinds) for name in found))
    if not layers:
        raise ValueError(
            "`history` must hold what an ActivationMonitor measured, under keys such as "
            f"'dead/dense'. Received keys: {list(series)}"
        )
    figure, panels = _figure(3)
    import matplotlib

    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
    for panel, found, (_, label, factor, scale) in zip(panels, kinds, _HEALTH, strict=True):
        for name, color in zip(layers, colors, strict=True):
            values = factor * np.asarray(found.get(name, []), dtype=float)
            clock = np.asarray(series.get("step", np.arange(1, len(values) + 1)))
            panel.plot(clock[: len(values)], values, color=color, marker="o", markersize=3)
        panel.set(xlabel="training step" if "step" in series else "epoch", ylabel=label)
        panel.set(yscale=scale, ylim=None if scale == "log" else (-3, 103))
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(panels[0].lines, layers, loc="outside right upper")
    return figure


def task_weights(history: Any) -> Any:
    """Weights and losses of the tasks of a `MultiTask`, or the parts of a `MultiObjective`.

    Args:
        history: What `fit` returned, its `history` dictionary, or a TaskMonitor, which has the
            values of single steps instead of means over the epochs.

    Returns:
        A Figure with two axes, weight and loss against the epoch or step.

    Raises:
        ValueError: If there are no weights in `history`.
        ImportError: Without matplotlib.

    Example:
        >>> import keras_duo
        >>> series = {"a_loss": [2, 1], "a_weight": [0.2, 0.5], "b_weight": [0.8, 0.5]}
        >>> figure = keras_duo.plots.task_weights(series)
        >>> [line.get_label() for line in figure.axes[0].lines]
        ['a', 'b']
    """
    series = getattr(history, "history", history)
    series = series if isinstance(series, dict) else {}
    suffix = "_weight"
    tasks = [
        key.removesuffix(suffix)
        for key in series
        if key.endswith(suffix) and not key.startswith("val_")
    ]
    if not tasks:
        raise ValueError(
            "`history` must hold the weights of tasks, under keys such as 'left_weight'. "
            f"Received keys: {list(series)}"
        )
    clock = "training step" if "step" in series else "epoch"
    figure, (left, right) = _figure(2)
    for task in tasks:
        losses: list = series.get(f"{task}_loss", series.get(task)) or []
        for panel, values in ((left, series[task + suffix]), (right, losses)):
            at = series.get("step", range(1, len(values) + 1))[: len(values)]
            panel.plot(at, values, marker="o", markersize=3, label=task)
    left.set(xlabel=clock, ylabel="weight", ylim=(-0.03, None))
    right.set(xlabel=clock, ylabel="loss, before it is weighted", yscale="log")
    for panel in (left, right):
        panel.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(left.lines, tasks, loc="outside right upper")
    return figure


_ACTIVATION_LABELS = ("output f(x)", "slope df/dx")
# kind of key, label, factor, scale
_HEALTH = (
    ("dead", "dead units in %", 100.0, "linear"),
    ("saturated", "saturated outputs in %", 100.0, "linear"),
    ("gradient", "gradient norm of an example", 1.0, "log"),
)


def _loss_curves(loss: Any, form: LossForm, target: float, z: np.ndarray) -> list[np.ndarray]:
    """The loss of one example with this target at each z, and its derivative."""
    activation = resolve_activation(form.activation)
    quantiles = getattr(loss, "quantiles", None)
    units = len(quantiles) if isinstance(quantiles, tuple) else 1
    # Examples of the other label at 0 come along, for losses that compare the two kinds.
    labels = np.repeat(np.array([target, 1.0 - target], "float32"), len(z))
    hot = np.stack([labels, 1.0 - labels], axis=-1)
    y_true = {"unit": labels[:, None], "one-hot": hot, "id": hot.argmax(-1)}[form.labels]

    def values(z: Any) -> Any:
        z = ops.concatenate([z, ops.zeros_like(z)])[:, None]
        if form.labels == "unit":
            outputs = activation(ops.tile(z, (1, units)))
        else:
            outputs = activation(ops.concatenate([z, ops.zeros_like(z)], axis=-1))
        result = loss(ops.convert_to_tensor(y_true), outputs)
        if tuple(result.shape) != labels.shape:
            raise ValueError(
                "`loss` must give one value an example. "
                f"Received: shape {tuple(result.shape)} for {len(labels)} examples"
            )
        return result[: len(labels) // 2]

    # As in a training step: outside a graph, TensorFlow does not keep the logits behind a sigmoid.
    curves = compiled(lambda z: value_and_slope(values, z))(ops.convert_to_tensor(z))
    return [ops.convert_to_numpy(curve) for curve in curves]


def _activation_curves(activation: Callable, x: np.ndarray) -> list[np.ndarray]:
    """Output and slope, (points, channels), with one column where all channels agree."""
    shape: tuple = (1,)
    if isinstance(activation, keras.layers.Layer):
        if not activation.built:
            raise ValueError(
                "`layer` must have its weights: call the model on a batch first. "
                f"Received: {activation.name}, which is not built"
            )
        shape = tuple(size or 1 for size in _input_shape(activation)[1:]) or shape
    inputs = np.broadcast_to(x.reshape(-1, *[1] * len(shape)), (len(x), *shape))
    output, slope = value_and_slope(activation, ops.convert_to_tensor(inputs))
    if slope is None:
        raise ValueError(
            "`layer` must keep the shape of its input, as an activation does. "
            f"Received: {activation!r}"
        )
    curves = [
        ops.convert_to_numpy(ops.cast(curve, "float32")).reshape(len(x), -1)
        for curve in (output, slope)
    ]
    alike = all(np.ptp(c, axis=1).max() <= 1e-6 * np.abs(c).max() for c in curves)
    return [curve[:, :1] if alike else curve for curve in curves]


def _untrained(layer: keras.layers.Layer) -> keras.layers.Layer:
    fresh = type(layer).from_config(layer.get_config())
    if not fresh.built:
        fresh.build(_input_shape(layer))
    return fresh


def _input_shape(layer: keras.layers.Layer) -> tuple:
    return (layer.get_build_config() or {}).get("input_shape") or (None, 1)


def _points(limits: tuple[float, float]) -> np.ndarray:
    low, high = limits
    if not -np.inf < low < high < np.inf:
        raise ValueError(
            f"`limits` must be two finite numbers, the lower one first. Received: limits={limits}"
        )
    return np.linspace(low, high, 401, dtype="float32")


def _figure(panels: int, title: str | None = None) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'keras_duo.plots needs matplotlib: pip install "keras-duo[plots]"'
        ) from error
    figure = Figure(figsize=(5 * panels, 4), layout="constrained")
    axes = figure.subplots(1, panels)
    for panel in axes:
        panel.grid(alpha=0.3)
    if title is not None:
        figure.suptitle(title)
    return figure, axes
