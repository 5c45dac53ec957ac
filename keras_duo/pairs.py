"""Which output activation and which loss belong together, as a table that can be asked.

A row states the pair, when to use it, and claims about it that can be measured. The tests measure
every claim, so a row cannot say what does not hold.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import losses, metrics

from keras_duo._fits import ACTIVATIONS, Fit, Interval
from keras_duo._label_pairs import Candidate, candidates
from keras_duo._labels import Labels
from keras_duo._pair_table import DATA_ALIASES, ROWS, TASK_ALIASES
from keras_duo._validate import integer

# `pairs` is left out: a star import into the package would put the function where the module of
# the same name is looked up.
__all__ = ["Interval", "Pair", "recommend", "recommend_from"]


def recommend(task: str, data: str | None = None) -> "Pair":
    """The output activation and the loss for a task.

    Case, spaces, hyphens and underscores in the names do not matter.

    Args:
        task: "binary", "single-label" (also "multi-class"), "multi-label", "regression",
            "counts", "segmentation", "sequence" (also "ctc"), "detection", "quantile" or
            "generation" (the discriminator's loss and output).
        data: What the labels are like, such as "imbalanced", "sparse" or "outliers". None: the
            usual case of the task, which is the first that an error or `pairs()` lists.

    Raises:
        ValueError: If the task, or this kind of data for the task, is not in the table.

    Example:
        >>> from keras_duo.pairs import recommend
        >>> pair = recommend("binary", "imbalanced")
        >>> pair.activation, pair.loss
        ('sigmoid', Focal(gamma=2.0, alpha=None, from_logits=False, label_smoothing=0.0, axis=-1))
        >>> output_layer, loss, metrics = pair.head(1), pair.loss, pair.metrics
    """
    rows = _select("task", task, _TABLE, TASK_ALIASES)
    return rows[0] if data is None else _select("data", data, rows, DATA_ALIASES)[0]


def recommend_from(y: Any, x: Any = None) -> list["Pair"]:
    """Pairs for these labels, the likeliest first, each with the evidence for it.

    The labels tell their coding, range, balance and tails, and only to a degree the task: whole
    numbers may be classes or counts. What they fit is ranked, and `evidence` says why.

    Args:
        y: Labels: an array of numbers, the batch axis first.
        x: Inputs, an array. Its shape tells labels of pixels from others, and labels of sequences
            that are not aligned with the steps of the input.

    Returns:
        Rows of the table, each with `evidence` and `units`, so that `pair.head()` can be made.

    Raises:
        ValueError: If `y` does not hold finite numbers, or not as many examples as `x`.

    Example:
        >>> import keras, keras_duo
        >>> y = [0, 2, 1, 1, 0, 2, 2, 1]
        >>> pair = keras_duo.recommend_from(y)[0]
        >>> pair.partners, pair.evidence
        ('softmax + SparseCategoricalCrossentropy()', 'whole numbers from 0 to 2; 3 classes of ...')
        >>> model = keras.Sequential([keras.Input((4,)), pair.head()])
        >>> model = pair.compile(model)
    """
    labels = Labels(y)
    if labels.not_finite:
        raise ValueError(
            f"`y` must hold finite numbers. Received: {labels.not_finite} that are NaN or infinite"
        )
    x_shape = None if x is None else np.shape(x)
    if x_shape is not None and x_shape[:1] != labels.shape[:1]:
        raise ValueError(
            "`x` and `y` must hold as many examples each. "
            f"Received: x.shape={x_shape}, y.shape={labels.shape}"
        )
    found: dict[tuple, Pair] = {}
    for candidate in candidates(labels, x_shape):
        for row in _rows_of(candidate):
            pair = replace(row, evidence=candidate.evidence, units=candidate.units)
            found.setdefault((row.partners, row.labels), pair)
    return list(found.values())


def pairs() -> tuple["Pair", ...]:
    """The whole table; of the rows that share a task and data, the first is the recommended one.

    Example:
        >>> from keras_duo.pairs import pairs
        >>> sorted({pair.activation for pair in pairs()})
        ['exponential', 'linear', 'sigmoid', 'softmax', 'softplus', 'tanh']
    """
    return _TABLE


@dataclass(frozen=True, kw_only=True, repr=False)
class Pair(Fit):
    """An output activation and the loss that fits it; one row of the table.

    The claims are about float32, with the output of `head` going straight into `loss`. Those of
    `finite_at_worst` are about the TensorFlow backend, where Keras keeps the logits beside a
    sigmoid or softmax output. Elsewhere the loss sees probabilities alone, which round to 0 and 1.

    Attributes:
        task: The task, such as "binary".
        data: The kind of data within the task, such as "imbalanced".
        activation: The name of the output activation in Keras.
        labels: How the labels must be coded.
        why: The reason for this pair.
        source: Where the reason is derived or published.
        residual_gradient: Whether the gradient of the loss of one example with respect to the
            input of the activation is c * (output - target), with one constant c > 0 for a given
            number of units, at any logits between -5 and 5 and any target (class ids count as
            one-hot). Equality is meant to within 1e-5.
        finite_at_worst: Whether an example that is wrong by a margin of 100 in the input of the
            activation has a finite loss and a finite gradient that is not zero, so that the
            network can learn from it.
        evidence: What the labels show for this pair, from `recommend_from`; else "".
        units: How many units the labels ask for, from `recommend_from`; else None.

    Example:
        >>> from keras_duo.pairs import recommend
        >>> print(recommend("regression", "outliers"))
        regression, outliers: linear + Huber(delta=1.0)
          labels: real numbers
          output: (-inf, inf)
          why: An error beyond delta pulls with constant force, so that a few outliers ...
          source: Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/...
          alternatives: linear + MeanSquaredError()
    """

    task: str
    data: str
    _metrics: tuple[Callable[..., metrics.Metric], ...]
    evidence: str = field(default="", compare=False)
    units: int | None = field(default=None, compare=False)

    @property
    def output_range(self) -> Interval:
        """The interval of the outputs in float32, where rounding can reach a limit."""
        return ACTIVATIONS[self.activation].output_range

    @property
    def loss(self) -> losses.Loss:
        """A new instance of the loss at each access."""
        return self.make_loss(dtype=_dtype())

    @property
    def metrics(self) -> list[metrics.Metric]:
        """New Keras metrics that are right for this output and these labels."""
        return [metric(dtype=_dtype()) for metric in self._metrics]

    @property
    def alternatives(self) -> tuple["Pair", ...]:
        """The other pairs of the table for the same task and data."""
        return tuple(
            pair
            for pair in _TABLE
            if (pair.task, pair.data) == (self.task, self.data) and pair != self
        )

    @property
    def partners(self) -> str:
        """Activation and loss in short, such as "sigmoid + Focal(gamma=2.0)"."""
        loss, arguments = self.make_loss.func.__name__, self.make_loss.keywords
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"{self.activation} + {loss}({given})"

    def head(self, units: int | None = None, **dense_kwargs: Any) -> keras.layers.Dense:
        """A Dense layer that ends in the activation of this pair.

        It computes in float32, or wider where the global dtype policy does, unless `dtype` is
        given: half-precision probabilities reach 0 and 1 early, where no gradient is left.

        Args:
            units: Number of outputs: >= 1, and >= 2 for softmax. None: those that the labels
                asked for in `recommend_from`.
            dense_kwargs: Further arguments of `keras.layers.Dense`, except `activation`.

        Raises:
            ValueError: If `units` is not such a number, or `activation` is given.

        Example:
            >>> from keras_duo.pairs import recommend
            >>> recommend("multi-class").head(10, name="classes").activation.__name__
            'softmax'
        """
        known = ACTIVATIONS[self.activation]
        units = integer()("units", self.units if units is None else units)
        if units < known.least_units:
            raise ValueError(
                f"`units` must be >= {known.least_units}{known.reason}. Received: units={units}"
            )
        if "activation" in dense_kwargs:
            raise ValueError(
                f"`activation` must be left to the pair, which sets {self.activation!r}. "
                f"Received: activation={dense_kwargs['activation']!r}"
            )
        arguments = {"dtype": _dtype(), **dense_kwargs}
        return keras.layers.Dense(units, activation=self.activation, **arguments)

    def compile(self, model: keras.Model, optimizer: Any = "adam", **kwargs: Any) -> keras.Model:
        """Compile a model that ends in `head` with the loss and the metrics of this pair.

        Args:
            model: The model; it is compiled in place.
            optimizer: As for `keras.Model.compile`.
            kwargs: Further arguments of `keras.Model.compile`; `metrics` replaces those of the
                pair.

        Returns:
            The model itself, so that `.fit(...)` can follow.

        Raises:
            ValueError: If `loss` is given, which is the pair's.

        Example:
            >>> import keras
            >>> from keras_duo.pairs import recommend
            >>> pair = recommend("regression", "outliers")
            >>> model = keras.Sequential([keras.Input((4,)), pair.head(1)])
            >>> pair.compile(model, "sgd").loss.name
            'huber_loss'
        """
        if "loss" in kwargs:
            raise ValueError(f"`loss` must be left to the pair. Received: loss={kwargs['loss']!r}")
        model.compile(optimizer, loss=self.loss, **{"metrics": self.metrics, **kwargs})
        return model

    def __str__(self) -> str:
        others = ", ".join(pair.partners for pair in self.alternatives) or "none"
        return (
            f"{self.task}, {self.data}: {self.partners}\n"
            f"  labels: {self.labels}\n"
            f"  output: {self.output_range}\n"
            f"  why: {self.why}\n"
            f"  source: {self.source}\n"
            f"  alternatives: {others}"
            + (f"\n  evidence: {self.evidence}" if self.evidence else "")
        )

    def __repr__(self) -> str:
        return f"<Pair {self.task}, {self.data}: {self.partners}>"


def _select(
    kind: str, name: str, rows: tuple[Pair, ...], aliases: Mapping[str, str]
) -> tuple[Pair, ...]:
    """The rows whose field `kind` has this name."""
    key = _key(name)
    wanted = _key(aliases.get(key, key))
    found = tuple(row for row in rows if _key(getattr(row, kind)) == wanted)
    if not found:
        known = ", ".join(repr(value) for value in dict.fromkeys(getattr(r, kind) for r in rows))
        where = "" if rows is _TABLE else f" for task={rows[0].task!r}"
        raise ValueError(f"`{kind}` must be one of {known}{where}. Received: {kind}={name!r}")
    return found


def _rows_of(candidate: Candidate) -> list[Pair]:
    rows = [pair for pair in _TABLE if (pair.task, pair.data) == (candidate.task, candidate.data)]
    return [pair for pair in rows if "-1" in pair.labels] if candidate.signs else rows


def _key(name: Any) -> str:
    return re.sub(r"[\s_-]+", "", name).lower() if isinstance(name, str) else ""


def _dtype() -> str:
    """One dtype for head, loss and metrics: a cast between them would drop the kept logits."""
    return keras.backend.result_type(keras.config.dtype_policy().compute_dtype, "float32")


_TABLE = tuple(
    Pair(task=row.task, data=row.data, _metrics=row.metrics, **vars(row.fit)) for row in ROWS
)
