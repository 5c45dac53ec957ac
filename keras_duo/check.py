"""check: does the output activation of a model fit the loss it was compiled with?

Nothing is run and nothing is guessed: the graph and the compiled loss are read, a table of rules is
applied to each pair of output and loss, and what cannot be read is reported as unknown.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import total_ordering
from types import FunctionType
from typing import Any

import keras

from keras_duo import losses as duo_losses
from keras_duo._check_rules import CODES, GENERAL, RULES, LossFacts, size_of
from keras_duo._output_end import OutputEnd, UnreadableEndError, defined_by_keras, output_end

__all__ = ["CODES", "SEVERITIES", "Finding", "check"]

SEVERITIES = ("error", "warning", "advice", "unknown")


@total_ordering
@dataclass(frozen=True)
class Finding:
    """One thing that `check` has to say about a model.

    Findings are equal if all their fields are, and sort by severity: errors first.

    Attributes:
        severity: "error": the pair cannot do what it is for. "warning": it trains, and something
            is lost. "advice": there is better. "unknown": `check` could not look.
        code: A stable name, one of `CODES`.
        where: The output, and the layer that gives it its values.
        problem: What does not fit.
        consequence: What that does to training or to the predictions.
        fix: What to change.
    """

    severity: str
    code: str
    where: str
    problem: str
    consequence: str
    fix: str

    def __str__(self) -> str:
        return (
            f"{self.severity}: {self.code}: {self.where}\n"
            f"  {self.problem}\n  {self.consequence}\n  Fix: {self.fix}"
        )

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, Finding):
            return NotImplemented
        return self._order() < other._order()

    def to_dict(self) -> dict[str, str]:
        """The fields as a plain dictionary that JSON can hold."""
        return asdict(self)

    def _order(self) -> tuple:
        return SEVERITIES.index(self.severity), *list(asdict(self).values())[1:]


def check(model: keras.Model) -> list[Finding]:
    """Pairs of output activation and compiled loss that do not fit, errors first.

    The model is only read: it is not run, and its weights, optimizer and compiled state stay as
    they are. An empty list means that no rule of `docs/check.md` applies.

    Args:
        model: A compiled Keras model. Functional and Sequential models can be read; a model with
            its own `call`, `train_step` or `compute_loss` gives a finding of severity "unknown".

    Returns:
        Findings, sorted by severity, and in the order of the outputs where that is equal.

    Raises:
        TypeError: If `model` is not a `keras.Model`.

    Example:
        >>> import keras
        >>> from keras_duo.check import check
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(loss="binary_crossentropy")
        >>> [finding.code for finding in check(model)]
        ['logits-as-probabilities']
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}")
    return sorted(_findings(model), key=lambda finding: SEVERITIES.index(finding.severity))


# family: names of the classes in keras.losses and keras_duo.losses.
_CLASSES = {
    "binary": "BinaryCrossentropy BinaryFocalCrossentropy Focal AsymmetricFocal",
    "categorical": "CategoricalCrossentropy CategoricalFocalCrossentropy "
    "SparseCategoricalCrossentropy CategoricalFocal SparseCategoricalFocal "
    "SymmetricCrossEntropy PolyCrossEntropy",
    "divergence": "KLDivergence",
    # Losses without a rule: known, so that they are not reported as unknown.
    "other": "CTC CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice "
    "Hinge Huber LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError "
    "MeanSquaredLogarithmicError Poisson SquaredHinge Tversky "
    "Quantile IoU GIoU DIoU CIoU LSGAN Wasserstein HingeGAN NonSaturating RelativisticAverage "
    "FocalTversky",
}
_FUNCTIONS = {
    "binary": "binary_crossentropy binary_focal_crossentropy focal_loss",
    "categorical": "categorical_crossentropy categorical_focal_crossentropy "
    "sparse_categorical_crossentropy categorical_focal_loss sparse_categorical_focal_loss",
    "divergence": "kl_divergence",
    "other": "ctc categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity "
    "dice hinge huber log_cosh mean_absolute_error mean_absolute_percentage_error "
    "mean_squared_error mean_squared_logarithmic_error poisson squared_hinge tversky quantile_loss",
}
_FAMILIES = {
    getattr(module, name): family
    for table in (_CLASSES, _FUNCTIONS)
    for family, names in table.items()
    for name in names.split()
    for module in (keras.losses, duo_losses)
    if hasattr(module, name)
}


def _findings(model: Any) -> Iterator[Finding]:
    where = f"model {model.name!r}"
    if not model.compiled:
        yield _general("not-compiled", where)
        return
    loss = getattr(model, "loss", None)
    own = [name for name in ("train_step", "compute_loss") if not defined_by_keras(model, name)]
    if own or loss is None:
        reason = f"The model has its own `{own[0]}`" if own else "It is compiled without a loss"
        yield _general("unknown-loss", where, reason=reason)
        return
    if not defined_by_keras(model, "call") or not _outputs(model):
        own_call = "it has a `call` of its own" if model.built else "it is not built"
        yield _general("unknown-output", where, reason=own_call)
        return
    names = _names(model)
    for name, tensor, given in zip(names, _outputs(model), _per_output(loss, names), strict=True):
        yield from _output_findings(f"output {name!r}", tensor, given, len(names) == 1)


def _output_findings(where: str, tensor: Any, given: Any, alone: bool) -> Iterator[Finding]:
    losses = [loss for loss in (given if _is_list(given) else [given]) if loss is not None]
    if len(losses) > 1 and alone:
        first = getattr(losses[0], "name", None) or getattr(losses[0], "__name__", losses[0])
        yield _general("one-output-many-losses", where, count=len(losses), first=first)
        losses = losses[:1]
    if not losses:
        return
    try:
        end = output_end(tensor)
    except UnreadableEndError as error:
        yield _general("unknown-output", f"{where} (layer {error.where!r})", reason=error)
        return
    where, shape = f"{where} (layer {end.where!r})", tuple(tensor.shape)
    for loss in [part for whole in losses for part in _parts(whole)]:
        facts = _loss_facts(loss)
        if facts is None:
            reason = f"The loss {_short(loss)} is not one that `check` knows"
            yield _general("unknown-loss", where, reason=reason)
            facts = LossFacts(_short(loss), "unknown")
        for rule in RULES:
            if rule.applies(end, facts, shape):
                figures = _figures(end, facts, shape)
                texts = (rule.problem, rule.consequence, rule.fix)
                yield Finding(
                    rule.severity, rule.code, where, *(text.format(**figures) for text in texts)
                )


def _general(code: str, where: str, **figures: Any) -> Finding:
    severity, *texts = GENERAL[code]
    return Finding(severity, code, where, *(text.format(**figures) for text in texts))


def _figures(end: OutputEnd, loss: LossFacts, shape: tuple) -> dict[str, Any]:
    # With two classes a bound on the largest probability is the loosest: true for any number.
    units = max(end.units or 2, 2)
    classes = max(size_of(shape, loss.axis) or 2, 2)
    top = math.e / (math.e + units - 1)
    partner = {"categorical": "softmax", "divergence": "softmax or sigmoid"}.get(
        loss.family, "sigmoid"
    )
    end_in_partner = f"end the model in a {partner}."
    use_logits = f"Set `from_logits=True` in the loss, or {end_in_partner}"
    repair = f"E{end_in_partner[1:]}" if loss.family == "divergence" else use_logits
    p_low = 1 / (1 + math.exp(-end.low)) if math.isfinite(end.low) else 0.0
    return {
        "activation": end.activation,
        "loss": loss.name,
        "axis": loss.axis,
        "units": end.units,
        "low": end.low,
        "partner": partner,
        "repair": repair,
        "top": top,
        "floor": -math.log(top),
        "p_low": p_low,
        "floor_negative": -math.log1p(-p_low),
        "top_bounded": 1 / (1 + (classes - 1) * math.exp(-2)),
    }


def _outputs(model: Any) -> list:
    # A Sequential model that is not built has the attribute, and raises at it.
    return list(getattr(model, "outputs", None) or [])


def _names(model: Any) -> list:
    """What a dictionary of losses calls the outputs; of a Sequential model, its last layer."""
    outputs = _outputs(model)
    names = getattr(model, "output_names", None)
    if names is None:
        return [model.layers[-1].name]
    if isinstance(model.output, dict):
        keys = {id(tensor): key for key, tensor in model.output.items()}
        return [keys.get(id(tensor), index) for index, tensor in enumerate(outputs)]
    return list(names)


def _per_output(loss: Any, names: list) -> list:
    """The loss, losses, or None of each output, the way Keras hands them out."""
    if isinstance(loss, dict):
        given = [loss.get(name) for name in names]
        return given if any(item is not None for item in given) else [loss] * len(names)
    if not _is_list(loss):
        return [loss] * len(names)
    if len(names) == 1:
        return [loss[0] if len(loss) == 1 else loss]
    return [loss[index] if index < len(loss) else None for index in range(len(names))]


def _loss_facts(loss: Any) -> LossFacts | None:
    """What is known of one loss; None for one that is not Keras' or ours, or is a subclass."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return None
    plain = isinstance(loss, type | FunctionType)
    family = _FAMILIES.get(loss if plain else type(loss))
    if family is None:
        return None
    if plain:
        return LossFacts(loss.__name__, family)
    config = loss.get_config()
    from_logits, axis = bool(config.get("from_logits", False)), config.get("axis", -1)
    return LossFacts(type(loss).__name__, family, from_logits, axis if family != "other" else -1)


def _parts(loss: Any) -> list:
    """The losses that a MultiObjective is made of, or the loss itself."""
    if type(loss) is not duo_losses.MultiObjective:
        return [loss]
    return [part for whole in loss.losses for part in _parts(whole)]


def _is_list(loss: Any) -> bool:
    return isinstance(loss, list | tuple)


def _short(loss: Any) -> str:
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return f"`{name}`"
