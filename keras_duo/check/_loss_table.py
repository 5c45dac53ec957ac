"""What is known of the losses of Keras and of keras_duo: what they take for output and labels."""

from dataclasses import dataclass, field, replace
from functools import partial
from types import FunctionType
from typing import Any

import keras

from keras_duo import losses as duo_losses


@dataclass(frozen=True)
class LossFacts:
    """What the rules need to know of a loss.

    `labels` is the coding that it expects: "unit" (numbers from 0 to 1), "distribution" (one-hot or
    probabilities of the classes), "ids", "signs", "count", "real" or "any". `axis` is the axis that
    it takes for the classes, `ignored` a label without a meaning, `quantiles` those of `Quantile`.
    """

    name: str
    family: str
    labels: str = "any"
    from_logits: bool = False
    axis: int = -1
    ignored: int | None = None
    quantiles: tuple[float, ...] = ()
    loss: Any = field(default=None, compare=False, repr=False)


# (family, labels): names in keras.losses and keras_duo.losses.
_NAMES = {
    ("binary", "unit"): "BinaryCrossentropy BinaryFocalCrossentropy Focal AsymmetricFocal "
    "binary_crossentropy binary_focal_crossentropy focal_loss asymmetric_focal_loss",
    ("categorical", "distribution"): "CategoricalCrossentropy CategoricalFocalCrossentropy "
    "CategoricalFocal SymmetricCrossEntropy PolyCrossEntropy LearnedLoss categorical_crossentropy "
    "categorical_focal_crossentropy categorical_focal_loss symmetric_cross_entropy_loss "
    "poly_cross_entropy_loss learned_loss",
    ("categorical", "ids"): "SparseCategoricalCrossentropy SparseCategoricalFocal "
    "sparse_categorical_crossentropy sparse_categorical_focal_loss",
    # 1 - p^q of the labelled class alone, of which no other class takes a share.
    ("labelled-class", "ids"): "CategoricalGeneralizedCrossEntropy "
    "categorical_generalized_cross_entropy",
    ("divergence", "unit"): "KLDivergence kl_divergence",
    ("overlap", "unit"): "Dice Tversky FocalTversky dice tversky dice_loss tversky_loss "
    "focal_tversky_loss",
    ("hinge", "signs"): "Hinge SquaredHinge hinge squared_hinge",
    ("categorical-hinge", "distribution"): "CategoricalHinge categorical_hinge",
    ("adversarial", "unit"): "LSGAN Wasserstein HingeGAN NonSaturating RelativisticAverage "
    "lsgan_loss wasserstein_loss hinge_gan_loss non_saturating_loss relativistic_average_loss",
    ("rate", "count"): "Poisson poisson",
    ("log-error", "count"): "MeanSquaredLogarithmicError mean_squared_logarithmic_error",
    ("regression", "real"): "MeanSquaredError MeanAbsoluteError MeanAbsolutePercentageError Huber "
    "LogCosh mean_squared_error mean_absolute_error mean_absolute_percentage_error huber log_cosh",
    ("quantile", "real"): "Quantile quantile_loss",
    ("sequence", "ids"): "CTC ctc",
    ("boxes", "any"): "IoU GIoU DIoU CIoU iou_loss giou_loss diou_loss ciou_loss",
    ("embedding", "any"): "Circle CosineSimilarity circle cosine_similarity",
}
KNOWN = {
    getattr(module, name): key
    for key, names in _NAMES.items()
    for name in names.split()
    for module in (keras.losses, duo_losses)
    if hasattr(module, name)
}
# Of these alone the classes get a weight of their own only from outside.
PLAIN_CROSSENTROPIES = {
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
}


def loss_facts(loss: Any, units: int | None = None) -> LossFacts | None:
    """What is known of one loss; None for one that is not Keras' or ours, or is a subclass.

    `units` is the size of the last axis of the output, by which Keras resolves "crossentropy".
    """
    if isinstance(loss, str):
        if loss.lower() in ("crossentropy", "ce"):
            return _resolved_by_shape(units)
        loss = _by_name(loss)
    settings: dict[str, Any] = {}
    key = loss
    if isinstance(loss, partial) and not loss.args:
        key, settings = loss.func, loss.keywords
    elif isinstance(loss, keras.losses.Loss):
        key, settings = type(loss), loss.get_config()
    family, labels = KNOWN.get(key, (None, None)) if _is_key(key) else (None, None)
    if family is None or labels is None:
        return None
    if settings.get("task") == "regression":  # of a learned loss
        family, labels = "regression", "real"
    classes = family in ("binary", "categorical", "divergence", "labelled-class")
    quantiles = settings.get("quantiles", ())
    return LossFacts(
        key.__name__,
        family,
        labels,
        # What CTC takes are logits without being asked.
        from_logits=family == "sequence" or bool(settings.get("from_logits", False)),
        axis=settings.get("axis", -1) if classes else -1,
        ignored=settings.get("ignore_class"),
        quantiles=quantiles if isinstance(quantiles, tuple) else (),
        loss=loss,
    )


def parts_of(loss: Any) -> list:
    """The losses that a MultiObjective is made of, or the loss itself."""
    if type(loss) is not duo_losses.MultiObjective:
        return [loss]
    return [part for whole in loss.losses for part in parts_of(whole)]


def short(loss: Any) -> str:
    """What to call a loss or metric that is not known."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return f"`{name}`"


def _resolved_by_shape(units: int | None) -> LossFacts | None:
    """What Keras makes of "crossentropy": for several units the labels decide the coding."""
    if units is None:
        return None
    if units == 1:
        return loss_facts(keras.losses.BinaryCrossentropy())
    facts = loss_facts(keras.losses.CategoricalCrossentropy())
    return facts and replace(facts, labels="any", loss=None)


def _by_name(name: str) -> Any:
    try:
        return keras.losses.get(name)
    except ValueError:
        return None


def _is_key(key: Any) -> bool:
    return isinstance(key, type | FunctionType)
