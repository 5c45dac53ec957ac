"""Every way to build an output meets right and wrong losses, as built and after a reload."""

import keras
import pytest
from keras import losses

import keras_duo as duo
from keras_duo import check
from tests.check.ways import READABLE, UNREADABLE, built

# kind of the output: (loss, code of the finding, "" where the pair is right).
PAIRS = {
    "linear": (
        ("mean_squared_error", ""),
        (losses.BinaryCrossentropy(from_logits=True), ""),
        (duo.SparseCategoricalFocal(from_logits=True), ""),
        (losses.Hinge(), ""),
        (duo.LSGAN(), ""),
        ("binary_crossentropy", "logits-as-probabilities"),
        (losses.CategoricalCrossentropy(), "logits-as-probabilities"),
        (duo.Dice(), "logits-as-probabilities"),
        ("kl_divergence", "logits-as-probabilities"),
        ("poisson", "negative-rate"),
    ),
    "sigmoid": (
        ("mean_squared_error", ""),
        (losses.BinaryFocalCrossentropy(), ""),
        (duo.AsymmetricFocal(), ""),
        (duo.MultiObjective([duo.Focal(), duo.Tversky()]), ""),
        (losses.BinaryCrossentropy(from_logits=True), "sigmoid-from-logits"),
        (duo.FocalTversky(from_logits="sigmoid"), "sigmoid-from-logits"),
        ("sparse_categorical_crossentropy", "sigmoid-single-label"),
        (losses.Hinge(), "probability-hinge"),
        (duo.Wasserstein(), "sigmoid-adversarial"),
    ),
    "softmax": (
        ("mean_squared_error", ""),
        (losses.SparseCategoricalCrossentropy(), ""),
        (duo.CategoricalFocal(), ""),
        (losses.CategoricalGeneralizedCrossEntropy(0.5), ""),
        (losses.CategoricalCrossentropy(from_logits=True), "softmax-from-logits"),
        (duo.Focal(from_logits=True), "softmax-from-logits"),
        (losses.CategoricalHinge(), "probability-hinge"),
        ("binary_crossentropy", "softmax-multi-label"),
    ),
}
KINDS = pytest.mark.parametrize("kind", PAIRS)


def wrong_in(model, kind, unknown=False):
    """The pairs of this kind that are not judged as they should be."""
    several = len(getattr(model, "outputs", None) or [0]) > 1
    for loss, code in PAIRS[kind]:
        given = loss
        if several:
            keys = list(model.output) if isinstance(model.output, dict) else None
            given = dict(zip(keys, ["mse", loss], strict=True)) if keys else ["mse", loss]
        model.compile("sgd", loss=given)
        expected = ["unknown-output"] if unknown else [code] if code else []
        found = check(model)
        if [finding.code for finding in found] != expected:
            yield loss, expected, found
        if several and any("first" in finding.where for finding in found):
            yield loss, "nothing about the first output", found


def test_there_are_enough_ways():
    assert len(READABLE) >= 20


@KINDS
@pytest.mark.parametrize("way", READABLE)
def test_readable(way, kind):
    assert list(wrong_in(built(way, kind), kind)) == []


@KINDS
@pytest.mark.parametrize("way", UNREADABLE)
def test_unreadable(way, kind):
    assert list(wrong_in(built(way, kind), kind, unknown=True)) == []


@KINDS
@pytest.mark.parametrize("way", [*READABLE, *UNREADABLE])
def test_the_same_after_a_reload(way, kind, tmp_path):
    model = built(way, kind)
    model.compile("sgd", loss="mse")
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    assert list(wrong_in(reloaded, kind, unknown=way in UNREADABLE)) == []


@pytest.mark.parametrize(("kind", "pair"), [("linear", 2), ("sigmoid", 4), ("softmax", 5)])
def test_compiled_loss_survives_a_reload(kind, pair, tmp_path):
    model, (loss, code) = built("activation argument", kind), PAIRS[kind][pair]
    model.compile("sgd", loss=loss, metrics=["accuracy"])
    model.save(tmp_path / "model.keras")
    found = check(keras.saving.load_model(tmp_path / "model.keras"))
    assert found == check(model)
    assert code in ("", *(finding.code for finding in found))
