"""The outer loop of learning a loss: models one after the other, records, and the best loss."""

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_duo.models.meta_model import MetaModel


@dataclass(frozen=True)
class Settings:
    """The numbers of a run, as `MetaLearner.learn` takes them."""

    steps: int
    unroll: int
    warmup: int
    batch_size: int
    restarts: int
    seed: int


@dataclass
class Progress:
    """Where a run is: what a checkpoint holds beside the variables."""

    restart: int
    step: int
    coefficients: list[float]
    best: list[float]
    best_loss: float
    history: list[dict[str, Any]]


def run(
    learner: Any,
    make_model: Callable[[], keras.Model],
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    settings: Settings,
    optimizer: keras.optimizers.Optimizer,
    verbose: bool,
    checkpoint: Any,
) -> tuple[tuple[float, ...], list[dict[str, Any]]]:
    """The coefficients of the restart whose model ended best, and the records of all."""
    if all(np.array_equal(a, b) for a, b in zip(train, held_out, strict=True)):
        raise ValueError(
            "`validation_data` must hold other examples than `train_data`: on its own examples a "
            "model is best served by a loss that fits their wrong labels too. "
            "Received: the same arrays"
        )
    start = list(learner.coefficients)
    at = Progress(0, 0, start, start, float("inf"), [])
    identity = json.dumps({**learner.get_config(), **asdict(settings), "examples": len(train[0])})
    saved = _read(checkpoint, identity)
    if saved is not None:
        at = saved[0]
    target = settings.steps * settings.restarts
    bar = keras.utils.Progbar(target, unit_name="step", verbose=int(verbose))
    while at.restart < settings.restarts:
        meta = _started(learner, make_model, held_out, settings, optimizer, at)
        if saved is not None:
            _restore(meta, saved[1])
            saved = None
        while at.step < settings.steps:
            record = _pass(meta, train, settings, at)
            at.coefficients = record["coefficients"]
            at.history.append(record)
            if at.step == settings.steps:
                _judge(meta, held_out, at, record)
            else:
                _write(checkpoint, identity, at, meta)
            shown = [(k, v) for k, v in record.items() if k in ("loss", learner.method)]
            bar.update(at.restart * settings.steps + at.step, shown)
        at.restart, at.step = at.restart + 1, 0
        _write(checkpoint, identity, at, None)
    return tuple(at.best), at.history


def examples(name: str, data: Any, task: str, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) as arrays from which a loss can be learned."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(
            f"`{name}` must be a tuple (x, y) of arrays. Received: {type(data).__name__}"
        )
    x, y = (np.asarray(part) for part in data)
    if not x.shape or not y.shape or len(x) != len(y) or not len(x):
        raise ValueError(
            f"`{name}` must hold as many labels as examples, and one or more. "
            f"Received: x.shape={x.shape}, y.shape={y.shape}"
        )
    for part, array in (("x", x), ("y", y)):
        if not np.isfinite(array).all():
            raise ValueError(
                f"`{name}` must be finite. Received: {np.sum(~np.isfinite(array))} entries of "
                f"{part} that are not"
            )
    if task == "classification":
        if y.ndim < 2 or y.shape[axis] < 2:
            raise ValueError(
                f"`{name}` must hold one-hot or soft labels of at least 2 classes. "
                f"Received: y.shape={y.shape}"
            )
        seen = np.moveaxis(y, axis, -1).reshape(-1, y.shape[axis]).sum(axis=0) > 0
        if seen.sum() < 2:
            raise ValueError(
                f"`{name}` must hold labels of at least 2 classes: one class is learned by any "
                f"loss, and teaches none. Received: classes {np.flatnonzero(seen).tolist()}"
            )
    elif np.ptp(y, axis=0).max() == 0:
        raise ValueError(
            f"`{name}` must hold labels that differ: a constant teaches no loss. "
            f"Received: y = {y[0]} throughout"
        )
    return x, y


def _started(
    learner: Any, make_model: Callable, held_out: Any, settings: Settings, optimizer: Any, at: Any
) -> MetaModel:
    """A new model with its own optimizer, and the loss as it stands."""
    seed = settings.seed + at.restart
    keras.utils.set_random_seed(seed)
    meta = MetaModel(
        make_model(),
        learner.at(at.coefficients),
        held_out,
        settings.warmup,
        settings.unroll,
        settings.batch_size,
        seed,
    )
    meta.compile(type(optimizer).from_config(optimizer.get_config()))
    if not meta.model.built:
        meta.model.build((None, *held_out[0].shape[1:]))
    meta.optimizer.build(meta.trainable_variables)
    return meta


def _pass(meta: MetaModel, train: tuple, settings: Settings, at: Progress) -> dict[str, Any]:
    """Steps up to the end of the data or of the run, and what they were like."""
    size = min(settings.batch_size, len(train[0]))
    batches = len(train[0]) // size
    index, first = divmod(at.step, batches)
    order = np.random.default_rng((meta.seed, index)).permutation(len(train[0]))
    meta.reset_metrics()
    logs: dict[str, Any] = {}
    for batch in range(first, min(batches, first + settings.steps - at.step)):
        rows = order[batch * size : (batch + 1) * size]
        logs = meta.train_on_batch(*(part[rows] for part in train), return_dict=True)
        at.step += 1
    return {
        "restart": at.restart,
        "step": at.step,
        **{name: float(value) for name, value in logs.items()},
        "coefficients": ops.convert_to_numpy(meta.coefficients).astype(float).tolist(),
    }


def _judge(meta: MetaModel, held_out: tuple, at: Progress, record: dict[str, Any]) -> None:
    """Score the model that the loss has trained, and keep the loss if it is the best so far."""
    x, y = held_out
    outputs = ops.convert_to_tensor(meta.model.predict(x, batch_size=1024, verbose=0))
    score = float(ops.mean(meta.learner.validation_values(y, outputs)))
    record["validation_loss"] = score
    if score < at.best_loss:
        at.best, at.best_loss = at.coefficients, score
    axis = meta.learner.axis
    if meta.learner.task == "classification" and np.ptp(np.argmax(outputs, axis)) == 0:
        warnings.warn(
            "The model that the learned loss has trained predicts one class for all held-out "
            "examples. Give it more steps, or a smaller `learning_rate`.",
            stacklevel=4,
        )


def _write(checkpoint: Any, identity: str, at: Progress, meta: MetaModel | None) -> None:
    if checkpoint is None:
        return
    values = [] if meta is None else [np.asarray(v) for v in _variables(meta)]
    path = Path(checkpoint)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        progress = json.dumps(asdict(at))
        np.savez(file, *values, identity=np.array(identity), progress=np.array(progress))
    os.replace(unfinished, path)


def _read(checkpoint: Any, identity: str) -> tuple[Progress, list[np.ndarray]] | None:
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    with np.load(checkpoint, allow_pickle=False) as file:
        if str(file["identity"]) != identity:
            raise ValueError(
                "`checkpoint` must be of a run with the same arguments and as many examples; "
                f"remove it to start over. Received: checkpoint={str(checkpoint)!r}"
            )
        values = [file[f"arr_{i}"] for i in range(len(file.files) - 2)]
        return Progress(**json.loads(str(file["progress"]))), values


def _restore(meta: MetaModel, values: list[np.ndarray]) -> None:
    if values:  # none, where the run stopped between two models
        for variable, value in zip(_variables(meta), values, strict=True):
            variable.assign(value)


def _variables(meta: MetaModel) -> list[Any]:
    return [*meta.variables, *meta.optimizer.variables]
