"""Rules for arguments and for the shapes of labels and predictions.

A rule stands in the annotation of the parameter that it governs, `gamma: Annotated[float,
number(at_least=0)]`, so that a pure function and the class around it check the same thing.
"""

import inspect
import json
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, get_type_hints

from keras import ops

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Rule:
    """What an argument must be, in words for the error, and how to bring it to its plain form."""

    statement: str
    convert: Callable[[Any], Any]

    def __call__(self, name: str, value: Any) -> Any:
        try:
            return self.convert(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"`{name}` must {self.statement}. Received: {name}={value!r}"
            ) from None


def number(
    *,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Rule:
    """A finite real number within bounds."""

    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError
        plain = float(value)
        inside = at_least <= plain <= at_most and above < plain < below
        if not (math.isfinite(plain) and inside):
            raise ValueError
        return plain

    bounds = [
        f"{word} {bound:g}"
        for word, bound in ((">=", at_least), ("<=", at_most), (">", above), ("<", below))
        if math.isfinite(bound)
    ]
    return Rule(f"be a finite number {' and '.join(bounds)}".rstrip(), convert)


def number_or_sequence(**bounds: float) -> Rule:
    """A number within bounds, or a non-empty sequence of such numbers (kept as a tuple)."""
    element = number(**bounds)

    def convert(value: Any) -> float | tuple[float, ...]:
        if isinstance(value, numbers.Real):
            return element.convert(value)
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise TypeError
        plain = tuple(element.convert(item) for item in value)
        if not plain:
            raise ValueError
        return plain

    return Rule(f"{element.statement}, or a sequence of such numbers", convert)


def integer(at_least: int | None = None) -> Rule:
    """An integer, which a bool is not, and not below a bound."""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError
        if at_least is not None and value < at_least:
            raise ValueError
        return int(value)

    return Rule("be an integer" if at_least is None else f"be an integer >= {at_least}", convert)


def flag() -> Rule:
    """True or False, and not a stand-in such as 1 or "true"."""

    def convert(value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value

    return Rule("be True or False", convert)


def choice(*names: str) -> Rule:
    """One of the given strings."""

    def convert(value: Any) -> str:
        if value not in names:
            raise ValueError
        return value

    return Rule(f"be {' or '.join(map(json.dumps, names))}", convert)


def optional(rule: Rule) -> Rule:
    """None, or what `rule` admits."""
    return Rule(
        f"be None or {rule.statement.removeprefix('be ')}",
        lambda value: None if value is None else rule.convert(value),
    )


@cache
def parameters_of(function: Callable) -> dict[str, tuple[inspect.Parameter, Rule]]:
    """The keyword-only parameters of a pure function, each with the rule in its annotation."""
    types, hints = get_type_hints(function), get_type_hints(function, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            (rule,) = (r for r in hints[name].__metadata__ if isinstance(r, Rule))
            found[name] = (parameter.replace(annotation=types[name]), rule)
    return found


def checked(function: Callable, arguments: dict[str, Any]) -> dict[str, Any]:
    """`arguments` in their plain form, after the rules of `function` have passed them."""
    rules = parameters_of(function)
    return {name: rules[name][1](name, value) for name, value in arguments.items()}


def validated(function: Callable[P, R]) -> Callable[P, R]:
    """A pure function that applies the rules of its keyword-only parameters at every call."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        known = parameters_of(function)
        plain = checked(function, {k: v for k, v in kwargs.items() if k in known})
        return function(*args, **{**kwargs, **plain})

    return call


def known_axis(axis: int, rank: int) -> int:
    """`axis` as a non-negative number, after a check that a tensor of this rank has it."""
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must name an axis of `y_pred`, which has rank {rank}. Received: axis={axis}"
        )
    return axis % rank


def channel_count(axis: int, input_shape: Sequence) -> int:
    """The size of a channel axis, after a check that it is one and that its size is known."""
    rank = len(input_shape)
    if not -rank <= axis < rank or axis % rank == 0 or input_shape[axis] is None:
        raise ValueError(
            "`axis` must name an axis of the input of known size that is not the batch axis. "
            f"Received: axis={axis}, input_shape={tuple(input_shape)}"
        )
    return input_shape[axis]


def aligned(
    y_true: Any, y_pred: Any, hint: str = "reshape the labels to fit, nothing is broadcast"
) -> tuple[Any, Any]:
    """Labels and predictions of one shape, at least rank 2 and never through broadcasting.

    A trailing axis of 1 that only one of the two has is added to, or dropped from, `y_true`.
    A vector is a batch of scalars: (B,) becomes (B, 1), so that a loss keeps one value an example.
    """
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    if len(true_shape) + 1 == len(pred_shape) and pred_shape[-1] == 1:
        y_true = ops.expand_dims(y_true, -1)
    elif len(true_shape) == len(pred_shape) + 1 and true_shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    if not pred_shape or not may_be_equal(y_true.shape, pred_shape):
        rule = f"must have the same shape, of rank 1 or more ({hint})"
        raise _shape_error(true_shape, pred_shape, rule)
    if any(dim is None for dim in y_true.shape[1:]):
        # The ranks agree, the sizes are known only when the step runs: a reshape fails there
        # where an elementwise operation would broadcast.
        y_true = ops.reshape(y_true, ops.shape(y_pred))
    if len(pred_shape) == 1:
        y_true, y_pred = ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1)
    return y_true, y_pred


def aligned_labels(
    y_true: Any,
    y_pred: Any,
    axis: int,
    held: str = "class id",
    hint: str = "one-hot labels belong to the categorical form of the loss",
) -> Any:
    """One label, a class id or a number, for all of `axis` of `y_pred` (where it may have a 1)."""
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    expected = pred_shape[:axis] + pred_shape[axis + 1 :]
    if len(true_shape) == len(pred_shape) and true_shape[axis] == 1:
        y_true = ops.squeeze(y_true, axis)
    if len(y_true.shape) != len(expected) or not may_be_equal(y_true.shape, expected):
        raise _shape_error(
            true_shape,
            pred_shape,
            f"do not fit: `y_true` must hold one {held} for each of {expected} ({hint})",
        )
    if any(dim is None for dim in y_true.shape[1:]):
        sizes = ops.shape(y_pred)
        y_true = ops.reshape(y_true, tuple(sizes[:axis]) + tuple(sizes[axis + 1 :]))
    return y_true


def may_be_equal(first: Sequence, second: Sequence) -> bool:
    """Whether two static shapes can be equal; None is a size that is not known yet."""
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )


def _shape_error(true_shape: tuple, pred_shape: tuple, rule: str) -> ValueError:
    return ValueError(
        f"`y_true` and `y_pred` {rule}. "
        f"Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
    )
