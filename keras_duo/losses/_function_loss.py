"""The Keras class around a pure loss function."""

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import keras
from keras import ops

from keras_duo._clusters import has_cpus_only, in_graph
from keras_duo._validate import checked, parameters_of
from keras_duo.losses._fused import condensed, fused


class FunctionLoss(keras.losses.Loss):
    """A `keras.losses.Loss` whose arguments, attributes and config are those of one function.

    `class Focal(FunctionLoss, function=focal_loss)` takes the keyword-only parameters of
    `focal_loss` as constructor arguments, in their order, then Keras' `reduction`, `name` and
    `dtype`. Compared with Keras' own base class:

    - integer labels stay integers (Keras casts id 257 to 256 under bfloat16);
    - the arithmetic is float32 or wider, whatever `dtype` says;
    - a masked or zero-weighted element counts for nothing, even where it holds NaN;
    - `sample_weight` of shape (B,) weights examples, also where the values are (B, T);
    - `get_config` holds every argument, `dtype` included.
    """

    function: ClassVar[Callable]

    def __init_subclass__(cls, function: Callable | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is None:  # a user's subclass of one of our losses
            return
        cls.function = staticmethod(function)
        cls.__init__ = _constructor(function)  # type: ignore[method-assign]
        cls.__doc__ = f"{inspect.getdoc(cls)}\n\n`{function.__name__}`: {inspect.getdoc(function)}"

    def __init__(
        self,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **arguments: Any,
    ) -> None:
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        name = name or _snake_case(type(self).__name__)
        super().__init__(name=name, reduction=reduction, dtype=policy)
        for key, value in checked(self.function, arguments).items():
            setattr(self, key, value)
        self.check_together()
        self._policy_name = policy.name
        self._compute_dtype = keras.backend.result_type(policy.compute_dtype, "float32")

    def check_together(self) -> None:
        """For rules that concern more than one argument: raise where they do not go together."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        def reduced(y_true: Any, y_pred: Any, logits: Any, mask: Any, sample_weight: Any) -> Any:
            for name, tensor in (("_keras_logits", logits), ("_keras_mask", mask)):
                if tensor is not None:
                    setattr(y_pred, name, tensor)
            values, weights = self.weighted(y_true, y_pred, sample_weight)
            if self.reduction in ("sum_over_batch_size", "mean"):
                values, weights = condensed(values if weights is None else values * weights), None
            return _given(self.reduction, self._compute_dtype)(values, values, weights)

        with keras.name_scope(self.name):
            # What Keras has put on the output, it does not put on the tensors of a cluster.
            beside = (getattr(y_pred, name, None) for name in ("_keras_logits", "_keras_mask"))
            tensors = (y_true, y_pred, *beside, sample_weight)
            tensors = tuple(x if x is None else ops.convert_to_tensor(x) for x in tensors)
            if self.reduction in (None, "none"):
                return reduced(*tensors)
            if self._has_short_mean and all(tensor is None for tensor in tensors[2:]):
                return self._short_mean(self._labels(tensors[0]), self._output(tensors[1]))
            return fused(reduced, predictions=(1, 2))(*tensors)

    def weighted(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[Any, Any]:
        """The values before they are reduced, and one weight a value; None where all weigh 1."""
        labels, output = self._labels(y_true), self._output(y_pred)
        counted = self.valid(labels, output)
        mask = self._mask(output, y_pred)
        if mask is not None:
            counted = mask if counted is None else ops.logical_and(mask, counted)
        weights = self._weights(output, counted, sample_weight)
        if weights is not None:
            labels, output = self._blank(labels, output, weights)
        return self.call(labels, output), weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One value an example: shape of `y_pred` without the axis that the loss reduces."""
        return self.function(y_true, y_pred, **self._arguments())

    def valid(self, y_true: Any, y_pred: Any) -> Any:
        """Which values count, as a boolean tensor; None where all of them do."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        return {**super().get_config(), "dtype": self._policy_name, **self._arguments()}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self._arguments().items())
        return f"{type(self).__name__}({arguments})"

    @property
    def _has_short_mean(self) -> bool:
        # Of this class alone: a subclass may change the values that it is the mean of.
        has_one = "_short_mean" in vars(type(self))
        is_mean = self.reduction in ("sum_over_batch_size", "mean")
        return has_one and is_mean and in_graph() and has_cpus_only()

    def _short_mean(self, y_true: Any, y_pred: Any) -> Any:
        """The mean of `call`, for a loss with so little to compute that a cluster costs more."""
        raise NotImplementedError

    def _arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in parameters_of(self.function)}

    def _labels(self, y_true: Any) -> Any:
        labels = ops.convert_to_tensor(y_true)
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(labels.dtype)):
            labels = ops.cast(labels, self._compute_dtype)
        return labels

    def _output(self, y_pred: Any) -> Any:
        output = ops.convert_to_tensor(y_pred)
        return _with_cached_logits(
            output, output, lambda tensor: ops.cast(tensor, self._compute_dtype)
        )

    def _mask(self, output: Any, y_pred: Any) -> Any:
        """The Keras mask of `y_pred`; None where it has none."""
        # The mask of a traced JAX array is no attribute: only Keras' own reduction can read it.
        if not hasattr(y_pred, "_keras_mask") and keras.backend.backend() != "jax":
            return None
        ones = self._ones(output)
        mask = _given("none", self._compute_dtype)(ones, y_pred)
        if mask is ones:
            return None
        if len(mask.shape) != len(ones.shape):
            raise ValueError(
                f"The mask of `y_pred` must have the shape of the loss values, {ones.shape}. "
                f"Received: y_pred.shape={tuple(y_pred.shape)}, mask of rank {len(mask.shape)}"
            )
        return ops.not_equal(mask, 0)

    def _weights(self, output: Any, counted: Any, sample_weight: Any) -> Any:
        """One weight a value: the mask, scaled for a mean over what counts, and `sample_weight`."""
        if counted is None and sample_weight is None:
            return None
        weights = self._ones(output)
        if counted is not None:
            weights = ops.cast(counted, self._compute_dtype) * weights
            if self.reduction in ("sum_over_batch_size", "mean"):
                size = ops.cast(ops.size(weights), self._compute_dtype)
                weights = weights * ops.divide_no_nan(size, ops.sum(weights))
        if sample_weight is not None:
            given = ops.convert_to_tensor(sample_weight, dtype=self._compute_dtype)
            weights = weights * _fit_weight(given, weights)
        return weights

    def _blank(self, labels: Any, output: Any, weights: Any) -> tuple[Any, Any]:
        """Zeros where the weight is zero: 0 * NaN is NaN, in the value and in the gradient."""
        keep = ops.not_equal(weights, 0)
        axis = self._axis(output)

        def blank(tensor: Any) -> Any:
            missing = len(tensor.shape) - len(keep.shape)
            where = axis if missing == 1 else tuple(range(-missing, 0))
            fitted = keep if missing < 1 else ops.expand_dims(keep, where)
            if missing < 0 or not _fits(fitted.shape, tensor.shape):
                return tensor  # as it is, for the loss to refuse, and not broadcast to fit
            return ops.where(fitted, tensor, ops.zeros_like(tensor))

        return blank(labels), _with_cached_logits(output, output, blank)

    def _axis(self, output: Any) -> int:
        return getattr(self, "axis", -1)

    def _ones(self, output: Any) -> Any:
        """Ones of the shape of the loss values."""
        if len(output.shape) < 2:
            return ops.ones_like(output)
        return ops.ones_like(ops.take(output, 0, axis=self._axis(output)))


class _Given(keras.losses.Loss):
    """Takes the loss values as `y_true`: Keras' own mask and reduction rules by public means."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return y_true


@cache
def _given(reduction: str | None, dtype: str) -> _Given:
    return _Given(name="given", reduction=reduction, dtype=dtype)


def _constructor(function: Callable) -> Callable:
    """A constructor with the parameters of `function`, visible to `help` and to completion."""
    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            inspect.Parameter("self", positional),
            *(p.replace(kind=positional) for p, _ in parameters_of(function).values()),
            inspect.Parameter("reduction", keyword, default="sum_over_batch_size"),
            inspect.Parameter("name", keyword, default=None),
            inspect.Parameter("dtype", keyword, default=None),
        ]
    )

    def __init__(self: FunctionLoss, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}: {error}") from None
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        FunctionLoss.__init__(arguments.pop("self"), **arguments)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    return __init__


def _with_cached_logits(source: Any, tensor: Any, change: Callable) -> Any:
    """`change(tensor)`, which keeps the logits that Keras stored beside a softmax or sigmoid."""
    changed = change(tensor)
    logits = getattr(source, "_keras_logits", None)
    if logits is not None and changed is not tensor:
        changed._keras_logits = change(logits)
    return changed


def _fit_weight(weight: Any, values: Any) -> Any:
    """`sample_weight` with the rank of the values; it may lack trailing axes, or have a 1 more."""
    given = tuple(weight.shape)
    if len(given) == len(values.shape) + 1 and given[-1] == 1:
        weight = ops.squeeze(weight, -1)
    while 0 < len(weight.shape) < len(values.shape):
        weight = ops.expand_dims(weight, -1)
    if len(weight.shape) not in (0, len(values.shape)) or not _fits(weight.shape, values.shape):
        raise ValueError(
            f"`sample_weight` must fit the loss values, which have shape {tuple(values.shape)}: "
            f"one weight an example, or one a value. Received: sample_weight.shape={given}"
        )
    return weight


def _fits(shape: Any, target: Any) -> bool:
    """Whether broadcasting to `target` changes nothing of `target`."""
    return all(a is None or b is None or a in (1, b) for a, b in zip(shape, target, strict=False))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()
