"""What a model is compiled with: losses and metrics of each output, the way Keras reads them."""

from typing import Any

from keras import tree


def symbolic_outputs(model: Any) -> list:
    """The outputs of a Functional or Sequential model; empty where there is no graph."""
    # A Sequential model that is not built has the attribute, and raises at it.
    return list(getattr(model, "outputs", None) or [])


def names_of(model: Any) -> list:
    """What a dictionary of losses calls the outputs; of a Sequential model, its last layer."""
    outputs = symbolic_outputs(model)
    names = getattr(model, "output_names", None)
    if names is None:
        return [model.layers[-1].name]
    if isinstance(model.output, dict):
        keys = {id(tensor): key for key, tensor in model.output.items()}
        return [keys.get(id(tensor), index) for index, tensor in enumerate(outputs)]
    return list(names)


def losses_of(loss: Any, names: list) -> list:
    """The loss, losses, or None of each output, the way Keras hands them out."""
    if isinstance(loss, dict):
        given = [loss.get(name) for name in names]
        return given if any(item is not None for item in given) else [loss] * len(names)
    if not is_list(loss):
        return [loss] * len(names)
    if len(names) == 1:
        return [loss[0] if len(loss) == 1 else loss]
    return [loss[index] if index < len(loss) else None for index in range(len(names))]


def metrics_of(model: Any, names: list) -> list[list]:
    """The metrics of each output as they were passed, the way Keras hands them out."""
    # `model.metrics` lists them only after the first batch, and no longer as they were passed.
    compiled = model._compile_metrics
    if compiled is None:
        return [[] for _ in names]
    each = zip(
        _handed_out(compiled._user_metrics, names),
        _handed_out(compiled._user_weighted_metrics, names),
        strict=True,
    )
    return [first + second for first, second in each]


def labels_of(y: Any, names: list) -> list:
    """The labels of each output; None where there are none."""
    if isinstance(y, dict):
        return [y.get(name) for name in names]
    if is_list(y):
        return [y[index] if index < len(y) else None for index in range(len(names))]
    return [y] if len(names) == 1 else [None] * len(names)


def is_list(loss: Any) -> bool:
    """Whether there are several losses or labels, in order."""
    return isinstance(loss, list | tuple)


def _handed_out(metrics: Any, names: list) -> list[list]:
    if not metrics:
        return [[] for _ in names]
    if len(names) == 1:
        return [[metric for metric in tree.flatten(metrics) if metric is not None]]
    if isinstance(metrics, dict):
        given = [metrics.get(name) for name in names]
    elif len(metrics) == len(names):
        given = list(metrics)
    else:
        given = [None] * len(names)
    return [[m for m in tree.flatten(item) if m is not None] for item in given]
