"""check: does the output of a model fit the loss it was compiled with, and do the labels?"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_duo._labels import Labels
from keras_duo.check._codes import EVIDENCE_RULES, METRIC_RULES, PAIR_RULES, general
from keras_duo.check._compiled import (
    is_list,
    labels_of,
    losses_of,
    metrics_of,
    names_of,
    symbolic_outputs,
)
from keras_duo.check._graph import defined_by_keras
from keras_duo.check._loss_table import LossFacts, loss_facts, parts_of, short
from keras_duo.check._metric_table import metric_facts
from keras_duo.check._output_end import OutputEnd, UnreadableEndError, output_end
from keras_duo.check._probe import (
    Batch,
    Evidence,
    batch_of,
    evidence_of,
    loss_evidence,
    outputs_of,
    what_learns,
)
from keras_duo.check._rule import Pairing, Rule, figures
from keras_duo.check._untracked import untracked
from keras_duo.check.finding import SEVERITIES, Finding
from keras_duo.models import GAN, MetaModel, MultiTask

# Of more labels than that a spread sample is read.
_MOST_LABELS = 1 << 22


def check(model: keras.Model, x: Any = None, y: Any = None) -> list[Finding]:
    """Pairs of output, loss, metrics and labels that do not fit, errors first.

    Without data nothing is run: the graph and what the model is compiled with are read. With `x`
    and `y` a probe of 32 examples is run, and all labels are looked at. Either way the weights, the
    optimizer, the compiled state, the metrics and the random state stay as they are. An empty list
    means that no rule of `docs/check.md` applies.

    Args:
        model: A compiled Keras model. Functional and Sequential models can be read; of a model with
            its own `call` only a probe shows something, and one with its own `train_step` or
            `compute_loss` gives a finding of severity "unknown". Of a `GAN` the discriminator is
            checked against the loss, and of a `MetaModel` the model against the loss as it stands.
        x: Inputs as for `fit`: an array, or a list or dictionary of arrays; or a tf.data.Dataset or
            keras.utils.PyDataset of inputs and labels, whose first batch is taken. Taking it counts
            as one pass over a tf.data.Dataset: if it shuffles, later passes come in another order.
        y: Labels as for `fit`: an array, or a list or dictionary of arrays.

    Returns:
        Findings, sorted by severity, and in the order of the outputs where that is equal.

    Raises:
        TypeError: If `model` is not a `keras.Model`, or `x` is a generator.
        ValueError: If `x` and `y` do not hold as many examples each, or the labels are no numbers.

    Example:
        >>> import keras
        >>> from keras_duo import check
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile(loss="binary_crossentropy")
        >>> [finding.code for finding in check(model)]
        ['logits-as-probabilities']
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}")
    batch = batch_of(x, y)
    with warnings.catch_warnings():
        # What Keras warns of on the way are findings.
        warnings.simplefilter("ignore")
        found = list(_findings(model, batch))
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


@dataclass(frozen=True)
class _Output:
    """One output: what it is called, the graph of it if there is one, and its probe values."""

    name: Any
    index: int
    tensor: Any
    values: Any
    alone: bool

    @property
    def shape(self) -> tuple:
        if self.tensor is not None:
            return tuple(self.tensor.shape)
        return (None, *self.values.shape[1:])


def _findings(model: Any, batch: Batch) -> Iterator[Finding]:
    where = f"model {model.name!r}"
    if not model.compiled:
        yield general("not-compiled", where)
        return
    if isinstance(model, MultiTask) and symbolic_outputs(model.model):
        # The weights that it finds change nothing about what fits.
        model = model.without_weighting()
    for layer, names in untracked(model):
        yield general("untracked-weights", f"layer {layer!r}", names=", ".join(names))
    if isinstance(model, GAN):
        yield from _game_findings(model, batch)
        return
    trained, loss, own = model, getattr(model, "loss", None), []
    if isinstance(model, MetaModel):
        trained, loss = model.model, model.to_loss()
    else:
        own = [name for name in ("train_step", "compute_loss") if not defined_by_keras(model, name)]
    if own or loss is None:
        reason = f"The model has its own `{own[0]}`" if own else "It is compiled without a loss"
        yield general("unknown-loss", where, reason=reason)
        return
    outputs = _outputs(trained, batch)
    if not outputs:
        reason = "it has a `call` of its own" if model.built else "it is not built"
        yield general("unknown-output", where, reason=reason)
        return
    names = [output.name for output in outputs]
    given = zip(
        outputs,
        losses_of(loss, names),
        metrics_of(model, names),
        labels_of(batch.y, names),
        labels_of(batch.labels, names),
        strict=True,
    )
    for output, its_loss, metrics, y, labels in given:
        yield from _output_findings(trained, batch.x, output, its_loss, metrics, y, labels)


def _game_findings(gan: GAN, batch: Batch) -> Iterator[Finding]:
    """The scores of the discriminator against the loss of the game; the labels are the game's."""
    critic = gan.discriminator
    if gan.conditional and batch.x is not None:  # what goes in are examples and labels
        batch = replace(batch, x=[batch.x, batch.y])
    outputs = _outputs(critic, batch)
    if not outputs:
        yield general(
            "unknown-output", f"model {critic.name!r}", reason="it has a `call` of its own"
        )
    for output in outputs:
        metrics = metrics_of(gan, [output.name])[0]
        yield from _output_findings(critic, batch.x, output, gan.loss, metrics, None, None)


def _outputs(model: Any, batch: Batch) -> list[_Output]:
    symbolic = symbolic_outputs(model) if defined_by_keras(model, "call") else []
    values: list = []
    names = names_of(model) if symbolic else []
    if batch.x is not None and model.built:
        structure = outputs_of(model, batch.x)
        values = tree.flatten(structure)
        if not symbolic:
            names = sorted(structure) if isinstance(structure, dict) else list(range(len(values)))
    return [
        _Output(
            name,
            index,
            symbolic[index] if symbolic else None,
            values[index] if values else None,
            len(names) == 1,
        )
        for index, name in enumerate(names)
    ]


def _output_findings(
    model: Any, x: Any, output: _Output, given: Any, metrics: list, y: Any, all_labels: Any
) -> Iterator[Finding]:
    where = f"output {output.name!r}"
    losses = [loss for loss in (given if is_list(given) else [given]) if loss is not None]
    if len(losses) > 1 and output.alone:
        first = getattr(losses[0], "name", None) or getattr(losses[0], "__name__", losses[0])
        yield general("one-output-many-losses", where, count=len(losses), first=first)
        losses = losses[:1]
    if not losses:
        return
    evidence = None if output.values is None else evidence_of(output.values)
    end, reason = _end(output, evidence)
    if end.where:
        where = f"{where} (layer {end.where!r})"
    if reason:
        yield general("unknown-output", where, reason=reason)
    labels = None if all_labels is None else Labels(_sample(all_labels))
    facts = LossFacts("", "unknown")
    for loss in [part for whole in losses for part in parts_of(whole)]:
        known = loss_facts(loss, output.shape[-1] if output.shape else None)
        if known is None:
            reason = f"The loss {short(loss)} is not one that `check` knows"
            yield general("unknown-loss", where, reason=reason)
        facts = known or LossFacts(short(loss), "unknown")
        shown = evidence
        if evidence is not None and y is not None and labels and not labels.not_finite:
            shown = _with_loss(evidence, model, x, y, output, loss)
        pairing = Pairing(end, facts, output.shape, labels, shown)
        yield from _pair_findings(where, pairing)
    for metric in metrics:
        read = metric_facts(metric, output.shape[-1] if output.shape else None)
        if read is not None:
            pairing = Pairing(end, facts, output.shape, labels, evidence, read)
            yield from _apply(METRIC_RULES, where, pairing)


def _end(output: _Output, evidence: Evidence | None) -> tuple[OutputEnd, str]:
    """The end of an output by its graph, or else by its values; and why it is unknown."""
    where, reason = "", "the model has a `call` of its own"
    if output.tensor is not None:
        try:
            return output_end(output.tensor), ""
        except UnreadableEndError as error:
            where, reason = error.where, str(error)
    seen = evidence and _seen(evidence, where, output.shape)
    return (seen, "") if seen else (OutputEnd(where, "", "unknown"), reason)


def _seen(evidence: Evidence, where: str, shape: tuple) -> OutputEnd | None:
    """What the values of the probe leave no doubt about."""
    low, high, last = evidence.value_low, evidence.value_high, len(shape) - 1
    if evidence.kept == "sigmoid":
        return OutputEnd(where, "sigmoid", "sigmoid", 0.0, 1.0)
    several = last > 0 and shape[-1] not in (None, 1)
    rows_sum_to_one = several and evidence.sums_to_one and evidence.examples > 1
    if evidence.kept == "softmax" or rows_sum_to_one:
        return OutputEnd(where, "softmax", "softmax", 0.0, 1.0, axis=last, units=shape[-1])
    if low < -1e-6 or high > 1 + 1e-6:
        return OutputEnd(where, f"not a probability ({low:.3g} to {high:.3g})", "linear")
    return None


def _with_loss(
    evidence: Evidence, model: Any, x: Any, y: Any, output: _Output, loss: Any
) -> Evidence:
    try:
        found = loss_evidence(loss, y, output.values)
        learns = what_learns(model, x, y, output.index, loss)
    except Exception as error:  # whatever a loss raises is what `fit` would end with
        message = str(error).strip().splitlines() or [""]
        return replace(evidence, raised=f"{type(error).__name__}: {message[0][:200]}")
    return replace(evidence, learns=learns, **found)


def _pair_findings(where: str, pairing: Pairing) -> Iterator[Finding]:
    found, shown = list(_apply(PAIR_RULES, where, pairing)), pairing.evidence
    errors = [finding for finding in found if finding.severity == "error"]
    for finding in found:
        if errors and finding is errors[0] and shown and shown.stopped:
            finding = replace(
                finding,
                consequence=f"{finding.consequence} Here {shown.stopped} of {shown.examples} "
                f"probe examples have a loss of up to {shown.stopped_loss:.3g} and a gradient of "
                "exactly 0.",
            )
        yield finding
    if not errors:  # of which what the probe shows would be the consequence
        yield from _apply(EVIDENCE_RULES, where, pairing)


def _apply(rules: tuple[Rule, ...], where: str, pairing: Pairing) -> Iterator[Finding]:
    for rule in rules:
        if rule.applies(pairing):
            named = figures(pairing)
            texts = (rule.problem, rule.consequence, rule.fix)
            yield Finding(
                rule.severity, rule.code, where, *(text.format(**named) for text in texts)
            )


def _sample(labels: np.ndarray) -> np.ndarray:
    step = max(1, labels.size // _MOST_LABELS)
    return labels[::step]
