"""The outer loop of learning a loss: models one after the other, records, and the best loss.

Each restart trains two models: one whose loss learns, and one that shows what the outcome is worth
to a model that begins with it. The first cannot show that: a loss that serves its last steps best
may not get a new model off the ground.

The outcome is the median of each coefficient over the steps. A mean would keep a little of whatever
had its time: of cross-entropy, which helps at first, enough to learn wrong labels by heart later.
Where the form holds the validation loss, a last model judges that as the one to train by, and where
it misses a class, another one judges a loss near it.
"""

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
    validation_batch_size: int
    restarts: int
    seed: int

    def steps_of(self, part: str) -> int:
        """How long a model trains: one whose loss learns costs more a step, and takes half."""
        return (self.steps + 1) // 2 if part == "learn" else self.steps


@dataclass
class Progress:
    """Where a run is: what a checkpoint holds beside the variables."""

    model: int
    step: int
    coefficients: list[float]
    best: list[float]
    best_loss: float
    history: list[dict[str, Any]]
    path: list[list[float]]  # the coefficients at each step of a model after its warm-up


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
    at = Progress(0, 0, start, start, float("inf"), [], [])
    identity = json.dumps({**learner.get_config(), **asdict(settings), "examples": len(train[0])})
    saved = _read(checkpoint, identity)
    if saved is not None:
        at = saved[0]
    plan = _plan(learner, settings)
    ends = np.cumsum([settings.steps_of(part) for part in plan])
    bar = keras.utils.Progbar(int(ends[-1]), unit_name="step", verbose=int(verbose))
    while at.model < len(plan):
        part = plan[at.model]
        if at.history and at.history[-1].get("missed") == 0 and plan[at.model :] == ["validation"]:
            break  # the mixture near V is for where V itself misses a class
        steps = settings.steps_of(part)
        if part == "validation" and not at.step:
            at.coefficients = list(learner.robust_coefficients[at.model - len(plan)])
        meta = _started(learner, make_model, held_out, settings, optimizer, at, part)
        if saved is not None:
            _restore(meta, saved[1])
            saved = None
        while at.step < steps:
            record = {"part": part, **_pass(meta, train, settings, at, part)}
            at.history.append(record)
            if at.step < steps:
                _write(checkpoint, identity, at, meta)
            shown = [(name, record[name]) for name in ("loss", learner.method) if name in record]
            bar.update(int(ends[at.model]) - steps + at.step, shown)
        if part == "learn":
            at.coefficients = _middle(learner, at)
        else:
            _judge(meta, held_out, at)
        at.model, at.step, at.path = at.model + 1, 0, []
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
    learner: Any,
    make_model: Callable,
    held_out: Any,
    settings: Settings,
    optimizer: Any,
    at: Progress,
    part: str,
) -> MetaModel:
    """A new model with its own optimizer, and the loss as it stands."""
    seed = settings.seed + at.model
    keras.utils.set_random_seed(seed)
    meta = MetaModel(
        make_model(),
        learner.at(at.coefficients),
        held_out,
        settings.warmup if part == "learn" else settings.steps,
        settings.unroll,
        settings.validation_batch_size,
        seed,
    )
    meta.compile(type(optimizer).from_config(optimizer.get_config()))
    if not meta.model.built:
        meta.model.build((None, *held_out[0].shape[1:]))
    meta.optimizer.build(meta.trainable_variables)
    return meta


def _plan(learner: Any, settings: Settings) -> list[str]:
    """What the models are for, one after the other: to learn by, or to judge by."""
    robust = ["validation"] * len(learner.robust_coefficients)
    return ["learn", "judge"] * settings.restarts + robust


def _pass(
    meta: MetaModel, train: tuple, settings: Settings, at: Progress, part: str
) -> dict[str, Any]:
    """Steps up to the end of the data or of the run, and what they were like."""
    size = min(settings.batch_size, len(train[0]))
    batches = len(train[0]) // size
    index, first = divmod(at.step, batches)
    order = np.random.default_rng((meta.seed, index)).permutation(len(train[0]))
    meta.reset_metrics()
    logs: dict[str, Any] = {}
    for batch in range(first, min(batches, first + settings.steps_of(part) - at.step)):
        rows = order[batch * size : (batch + 1) * size]
        logs = meta.train_on_batch(*(part[rows] for part in train), return_dict=True)
        at.step += 1
        if at.step > settings.warmup and part == "learn":
            at.path.append(_coefficients(meta))
    if part != "learn":
        logs.pop(meta.learner.method)
    return {
        "step": at.step,
        **{name: float(value) for name, value in logs.items()},
        "coefficients": _coefficients(meta),
    }


def _coefficients(meta: MetaModel) -> list[float]:
    return ops.convert_to_numpy(meta.coefficients).astype(float).tolist()


def _middle(learner: Any, at: Progress) -> list[float]:
    """The median of each coefficient, of a mixture scaled to a sum of 1."""
    path = np.array(at.path or [at.coefficients])
    middle = np.median(path, axis=0)
    if learner.form != "mixture":
        return middle.tolist()
    if not middle.any():  # no term was there for half of the steps
        middle = path.mean(axis=0)
    return (middle / middle.sum()).tolist()


def _judge(meta: MetaModel, held_out: tuple, at: Progress) -> None:
    """Score the model that the loss has trained, and keep the loss if it is the best so far."""
    x, y = held_out
    outputs = ops.convert_to_tensor(meta.model.predict(x, batch_size=1024, verbose=0))
    score = float(ops.mean(meta.learner.validation_values(y, outputs)))
    at.history[-1]["validation_loss"] = score
    if score < at.best_loss:
        at.best, at.best_loss = at.coefficients, score
    if meta.learner.task != "classification":
        return
    labelled, predicted = (set(np.argmax(part, meta.learner.axis).flat) for part in (y, outputs))
    at.history[-1]["missed"] = len(labelled - predicted)
    if len(predicted) == 1:
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
