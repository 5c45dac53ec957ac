"""Which output activation and which loss belong together, as a table that can be asked.

A row states the pair, when to use it, and claims about it that can be measured. The tests measure
every claim, so a row cannot say what does not hold.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import losses, metrics

from keras_duo._pair_table import ACTIVATIONS, DATA_ALIASES, ROWS, TASK_ALIASES, Fit, Interval
from keras_duo._validate import integer

# `pairs` is left out: a star import into the package would put the function where the module of
# the same name is looked up.
__all__ = ["Interval", "Pair", "recommend"]


def recommend(task: str, data: str | None = None) -> "Pair":
    """The output activation and the loss for a task.

    Case, spaces, hyphens and underscores in the names do not matter.

    Args:
        task: "binary", "single-label" (also "multi-class"), "multi-label", "regression",
            "detection", "quantile" or "generation" (the discriminator's loss and output).
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


def pairs() -> tuple["Pair", ...]:
    """The whole table; of the rows that share a task and data, the first is the recommended one.

    Example:
        >>> from keras_duo.pairs import pairs
        >>> sorted({pair.activation for pair in pairs()})
        ['linear', 'sigmoid', 'softmax', 'tanh']
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

    def head(self, units: int, **dense_kwargs: Any) -> keras.layers.Dense:
        """A Dense layer that ends in the activation of this pair.

        It computes in float32, or wider where the global dtype policy does, unless `dtype` is
        given: half-precision probabilities reach 0 and 1 early, where no gradient is left.

        Args:
            units: Number of outputs: >= 1, and >= 2 for softmax.
            dense_kwargs: Further arguments of `keras.layers.Dense`, except `activation`.

        Raises:
            ValueError: If `units` is not such a number, or `activation` is given.

        Example:
            >>> from keras_duo.pairs import recommend
            >>> recommend("multi-class").head(10, name="classes").activation.__name__
            'softmax'
        """
        known = ACTIVATIONS[self.activation]
        units = integer()("units", units)
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

    def __str__(self) -> str:
        others = ", ".join(pair.partners for pair in self.alternatives) or "none"
        return (
            f"{self.task}, {self.data}: {self.partners}\n"
            f"  labels: {self.labels}\n"
            f"  output: {self.output_range}\n"
            f"  why: {self.why}\n"
            f"  source: {self.source}\n"
            f"  alternatives: {others}"
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


def _key(name: Any) -> str:
    return re.sub(r"[\s_-]+", "", name).lower() if isinstance(name, str) else ""


def _dtype() -> str:
    """One dtype for head, loss and metrics: a cast between them would drop the kept logits."""
    return keras.backend.result_type(keras.config.dtype_policy().compute_dtype, "float32")


_TABLE = tuple(
    Pair(task=row.task, data=row.data, _metrics=row.metrics, **vars(row.fit)) for row in ROWS
)
