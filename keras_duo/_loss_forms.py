"""What a loss expects of the output before it, as a table, so that it can be drawn on one logit."""

import inspect
from typing import Any, NamedTuple

import keras

from keras_duo._serialize import loss_to_config, reduced_by, resolve_activation
from keras_duo.losses import LearnedLoss, MultiObjective


class LossForm(NamedTuple):
    """What a loss takes: the activation before it, how labels are coded, and which are drawn."""

    activation: Any
    labels: str
    targets: tuple[float, ...]
    input: str
    inside: str = ""

    def described(self) -> str:
        """The activation in words; `inside` is the one that the loss applies itself."""
        name = getattr(self.activation, "name", None) or getattr(self.activation, "__name__", None)
        name = self.activation if isinstance(self.activation, str) else name or "activation"
        applied = f" ({self.inside} in the loss)" if self.inside else ""
        drawn = "" if len(self.targets) > 1 else f", target {self.targets[0]:g}"
        return f"{name}{applied}{drawn}"


def loss_form(loss: Any, activation: Any) -> LossForm:
    """The form of a loss, with the activation that the user gave in place of its own."""
    part = loss
    while isinstance(part, MultiObjective):
        part = part.losses[0]
    kind = part if inspect.isfunction(part) else type(part)
    known = kind.__module__.split(".")[0] in ("keras", "keras_duo")
    form = _FORMS.get(_key(kind)) if known else None
    if isinstance(part, LearnedLoss) and part.task == "regression":
        form = _FORMS["meansquarederror"]
    if activation is not None and not (known and form is None):
        given = resolve_activation(activation)
        classes = given is keras.activations.softmax or isinstance(given, keras.layers.Softmax)
        form = form or LossForm(None, "one-hot" if classes else "unit", (1.0, 0.0), _LOGIT)
        return form._replace(activation=given, targets=(1.0, 0.0))
    if form is None:
        rule = (
            "judge single outputs, not boxes, maps or vectors"
            if known
            else "be one of Keras or keras_duo where `activation` is not given"
        )
        raise ValueError(f"`loss` must {rule}. Received: {kind.__name__}")
    if _arguments(part).get("from_logits"):
        return form._replace(activation="linear", inside=form.activation)
    return form


def named_losses(loss: Any) -> dict[str, Any]:
    """The losses to draw under their names."""
    if isinstance(loss, dict):
        return {str(name): _resolved(one) for name, one in loss.items()}
    named: dict[str, Any] = {}
    for one in loss if isinstance(loss, list | tuple) else [loss]:
        resolved = _resolved(one)
        arguments = ", ".join(f"{k}={_short(v)}" for k, v in _arguments(resolved).items())
        name = getattr(resolved, "__name__", type(resolved).__name__)
        name = f"{name}({arguments})" if arguments else name
        named[f"{name} no. {len(named) + 1}" if name in named else name] = resolved
    return named


_LOGIT, _CLASS_LOGIT = "logit z", "logit z of the class, others at 0"
_SCORE, _PREDICTION = "score z", "prediction z"
# The names of the losses, of Keras and of keras_duo, in lower case without "_" and "loss".
_FORMS = {
    name: form
    for names, form in (
        (
            "binarycrossentropy binaryfocalcrossentropy focal asymmetricfocal",
            LossForm("sigmoid", "unit", (1.0, 0.0), _LOGIT),
        ),
        (
            "categoricalcrossentropy categoricalfocalcrossentropy categoricalfocal kldivergence "
            "symmetriccrossentropy polycrossentropy learned",
            LossForm("softmax", "one-hot", (1.0, 0.0), _CLASS_LOGIT),
        ),
        (
            "sparsecategoricalcrossentropy sparsecategoricalfocal "
            "categoricalgeneralizedcrossentropy",
            LossForm("softmax", "id", (1.0, 0.0), _CLASS_LOGIT),
        ),
        ("categoricalhinge", LossForm("linear", "one-hot", (1.0, 0.0), _CLASS_LOGIT)),
        (
            "hinge squaredhinge lsgan wasserstein hingegan nonsaturating relativisticaverage",
            LossForm("linear", "unit", (1.0, 0.0), _SCORE),
        ),
        (
            "meansquarederror meanabsoluteerror huber logcosh quantile",
            LossForm("linear", "unit", (0.0,), _PREDICTION),
        ),
        ("meanabsolutepercentageerror", LossForm("linear", "unit", (1.0,), _PREDICTION)),
        ("meansquaredlogarithmicerror", LossForm("softplus", "unit", (1.0,), _LOGIT)),
        ("poisson", LossForm("exponential", "unit", (1.0,), _LOGIT)),
    )
    for name in names.split()
}


def _short(value: Any) -> str:
    """An argument for a legend, which has no room for a dozen numbers."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_short, value))})" if len(value) < 8 else f"{len(value)} numbers"
    return f"{value:.3g}" if isinstance(value, float) else f"{value}"


def _key(kind: Any) -> str:
    return kind.__name__.replace("_", "").lower().removesuffix("loss")


def _arguments(loss: Any) -> dict[str, Any]:
    """The arguments of a loss that are not their defaults."""
    if not isinstance(loss, keras.losses.Loss):
        return {}
    defaults = inspect.signature(type(loss)).parameters
    return {
        name: value
        for name, value in loss_to_config(loss)["config"].items()
        if name in defaults
        and name not in ("name", "reduction", "dtype", "losses")
        and value != defaults[name].default
    }


def _resolved(loss: Any) -> Any:
    if isinstance(loss, str) or inspect.isclass(loss):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            loss = None
    if not callable(loss):
        raise ValueError(
            "`loss` must be a loss, its name in `keras.losses`, a function, or a list or "
            f"dictionary of these. Received: loss={loss!r}"
        )
    return reduced_by(loss, "none") if isinstance(loss, keras.losses.Loss) else loss
