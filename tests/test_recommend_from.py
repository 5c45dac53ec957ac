"""`recommend_from`: what labels of many kinds are taken for, and that the answer runs."""

import keras
import numpy as np
import pytest
from sklearn import datasets

from keras_duo import recommend_from
from keras_duo._labels import Labels
from keras_duo.pairs import pairs

rng = np.random.default_rng(0)
N = 400
IDS = rng.integers(0, 5, N)
ONE_HOT = np.eye(5)[IDS]
RARE = (np.arange(N) % 50 == 0).astype(int)
CORNERS = rng.uniform(0, 50, (N, 2))
IMAGES, STEPS = np.zeros((N, 4, 4, 3), "float32"), np.zeros((N, 20, 3), "float32")
MASKS = rng.integers(0, 2, (N, 4, 4))
PADDED = np.where(np.arange(6) < rng.integers(2, 7, (N, 1)), rng.integers(1, 9, (N, 6)), 0)

# (labels, inputs, task, data, partners, units)
EXPECTED = {
    "0 and 1": (np.arange(N) % 2, None, "binary", "balanced", "sigmoid + BinaryCrossentropy()", 1),
    "booleans": (IDS > 2, None, "binary", "balanced", "sigmoid + BinaryCrossentropy()", 1),
    "a column": (RARE[:, None], None, "binary", "imbalanced", "sigmoid + Focal(gamma=2.0)", 1),
    "mostly 1": (1 - RARE, None, "binary", "imbalanced", "sigmoid + Focal(gamma=2.0)", 1),
    "one class": (np.zeros(N), None, "binary", "balanced", "sigmoid + BinaryCrossentropy()", 1),
    "signs": (2 * RARE - 1, None, "binary", "balanced", "linear + Hinge()", 1),
    "class ids": (IDS, None, "single-label", "sparse",
                  "softmax + SparseCategoricalCrossentropy()", 5),
    "few of a class": (np.where(RARE, 2, np.arange(N) % 2), None, "single-label",
                       "imbalanced-sparse", "softmax + SparseCategoricalFocal(gamma=2.0)", 3),
    "one-hot": (ONE_HOT, None, "single-label", "one-hot",
                "softmax + CategoricalCrossentropy()", 5),
    "one-hot, rare": (np.eye(2)[RARE], None, "single-label", "imbalanced",
                      "softmax + CategoricalFocal(gamma=2.0)", 2),
    "soft": (0.9 * ONE_HOT + 0.02, None, "single-label", "soft",
             "softmax + CategoricalCrossentropy()", 5),
    "several ones": (rng.integers(0, 2, (N, 4)), None, "multi-label", "balanced",
                     "sigmoid + BinaryCrossentropy()", 4),
    "few ones": ((rng.random((N, 9)) < 0.05) * 1, None, "multi-label", "imbalanced",
                 "sigmoid + Focal(gamma=2.0)", 9),
    "normal": (rng.normal(size=N), None, "regression", "gaussian",
               "linear + MeanSquaredError()", 1),
    "several targets": (rng.normal(size=(N, 3)), None, "regression", "gaussian",
                        "linear + MeanSquaredError()", 3),
    "heavy tails": (rng.standard_t(2, N), None, "regression", "outliers",
                    "linear + Huber(delta=1.0)", 1),
    "negative whole numbers": (rng.integers(-30, 30, N), None, "regression", "gaussian",
                               "linear + MeanSquaredError()", 1),
    "shares": (rng.uniform(0, 1, N), None, "regression", "bounded",
               "sigmoid + BinaryCrossentropy()", 1),
    "poisson": (rng.poisson(3, 4000), None, "counts", "any", "exponential + Poisson()", 1),
    "counts as floats": (rng.poisson(0.7, N) * 1.0, None, "counts", "any",
                         "exponential + Poisson()", 1),
    "large counts": (rng.poisson(400, N), None, "counts", "any", "exponential + Poisson()", 1),
    "boxes": (np.hstack([CORNERS, CORNERS + rng.uniform(1, 9, (N, 2))]), None, "detection", "boxes",
              "linear + CIoU()", 4),
    "masks": (MASKS[..., None], None, "segmentation", "masks", "sigmoid + Dice()", 1),
    "masks without an axis": (MASKS, IMAGES, "segmentation", "masks", "sigmoid + Dice()", 1),
    "small masks": ((rng.random((N, 4, 4, 1)) < 0.03) * 1, IMAGES, "segmentation", "small-objects",
                    "sigmoid + FocalTversky()", 1),
    "classes of pixels": (np.eye(3)[rng.integers(0, 3, (N, 4, 4))], IMAGES, "segmentation",
                          "one-hot", "softmax + Dice()", 3),
    "ids of pixels": (rng.integers(0, 3, (N, 4, 4)), IMAGES, "segmentation", "sparse",
                      "softmax + Dice()", 3),
    "unaligned": (PADDED, STEPS, "sequence", "unaligned", "linear + CTC()", 9),
    "a class for each step": (rng.integers(0, 5, (N, 20)), STEPS, "single-label", "sparse",
                              "softmax + SparseCategoricalCrossentropy()", 5),
}  # fmt: skip


@pytest.mark.parametrize("kind", EXPECTED)
def test_first_choice(kind):
    y, x, task, data, partners, units = EXPECTED[kind]
    first, *_ = recommend_from(y, x)
    assert (first.task, first.data, first.partners) == (task, data, partners)
    assert first.units == units
    assert first.evidence
    assert first.evidence in str(first)


def test_real_labels():
    for load, task in (
        (datasets.load_digits, "single-label"),
        (datasets.load_iris, "single-label"),
        (datasets.load_breast_cancer, "binary"),
    ):
        assert recommend_from(load(return_X_y=True)[1])[0].task == task
    diabetes = datasets.load_diabetes(return_X_y=True)[1] / 100
    assert recommend_from(diabetes)[0].task == "regression"
    linnerud = datasets.load_linnerud(return_X_y=True)[1]
    assert recommend_from(linnerud[:, :1])[0].task == "counts"


def test_what_cannot_be_told_is_ranked():
    ids = [(pair.task, pair.partners) for pair in recommend_from(IDS)]
    assert ids[0][0] == "single-label"
    assert ("counts", "exponential + Poisson()") in ids
    counts = [pair.task for pair in recommend_from(rng.poisson(3, 4000))]
    assert counts.index("counts") < counts.index("single-label")


def test_rows_are_those_of_the_table_and_each_is_there_once():
    for y, x, *_ in EXPECTED.values():
        found = recommend_from(y, x)
        assert all(pair in pairs() for pair in found)
        assert len({(pair.partners, pair.labels) for pair in found}) == len(found)
        assert all(pair.alternatives or pair.task == "sequence" for pair in found)


def test_signs_get_no_pair_for_0_and_1():
    assert {type(pair.loss).__name__ for pair in recommend_from(2 * RARE - 1)} == {"Hinge"}


def test_evidence_holds_the_figures():
    assert "2.0 % are 1" in recommend_from(RARE)[0].evidence
    (first, *_) = recommend_from(np.r_[np.zeros(90), np.ones(60), np.full(50, 2)].astype(int))
    assert "3 classes of 50 to 90 examples" in first.evidence
    heavy = np.r_[rng.normal(size=990), np.full(10, 100.0)]
    assert "1.00 % of the numbers lie beyond 5" in recommend_from(heavy)[0].evidence


@pytest.mark.parametrize("kind", ["class ids", "poisson", "shares", "several ones", "boxes"])
def test_runs_in_two_lines(kind):
    y = EXPECTED[kind][0]
    x = rng.normal(size=(len(y), 3)).astype("float32")
    pair = recommend_from(y, x)[0]
    model = pair.compile(keras.Sequential([keras.Input((3,)), pair.head()]), run_eagerly=True)
    assert np.isfinite(model.train_on_batch(x[:32], y[:32])[0])
    assert model.output_shape == (None, pair.units)


def test_compile_passes_arguments_on_and_keeps_the_loss():
    pair = recommend_from(IDS)[0]
    model = keras.Sequential([keras.Input((3,)), pair.head()])
    assert pair.compile(model, "sgd", metrics=["accuracy"], jit_compile=False) is model
    assert model.optimizer.name == "SGD" or "sgd" in model.optimizer.name
    assert type(model.loss) is type(pair.loss)
    with pytest.raises(ValueError, match=r"^`loss` must be left to the pair. Received: loss='mse'"):
        pair.compile(model, loss="mse")


@pytest.mark.parametrize(
    ("y", "x", "said"),
    [
        (np.array([1.0, np.nan]), None, "`y` must hold finite numbers. Received: 1 that are"),
        (["cat", "dog"], None, "`y` must hold numbers; make class ids of names"),
        ([], None, "`y` must hold at least one label"),
        (1.0, None, "`y` must hold at least one label"),
        ([0, 1], np.zeros((3, 2)), "`x` and `y` must hold as many examples each"),
    ],
)
def test_labels_that_cannot_be_used(y, x, said):
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(";", ";")):
        recommend_from(y, x)


def test_units_must_come_from_somewhere():
    with pytest.raises(ValueError, match=r"`units` must be an integer. Received: units=None"):
        pairs()[0].head()


def test_outliers_by_the_robust_standard_deviation():
    normal = rng.normal(size=100_000)
    assert Labels(normal).share_of_outliers() < 1e-4
    # Of a Laplace distribution exp(-5 * 1.4826 * log(2)) lies that far out.
    laplace = Labels(rng.laplace(size=200_000)).share_of_outliers()
    assert laplace == pytest.approx(np.exp(-5 * 1.4826 * np.log(2)), rel=0.1)
    assert np.isnan(Labels(np.zeros(10)).share_of_outliers())
