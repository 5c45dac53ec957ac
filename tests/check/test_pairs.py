"""Every spelling of a loss on every kind of output: what is found, and what must not be."""

import functools

import keras
import pytest
from keras import layers, losses

import keras_duo
from keras_duo.check._loss_table import KNOWN
from tests.check.ways import codes

BINARY = {
    "string": "binary_crossentropy",
    "alias": "bce",
    "class-string": "BinaryCrossentropy",
    "function": losses.binary_crossentropy,
    "class": losses.BinaryCrossentropy,
    "instance": losses.BinaryCrossentropy(),
    "keras-focal": losses.BinaryFocalCrossentropy(),
    "focal": keras_duo.Focal(),
    "focal-function": keras_duo.focal_loss,
    "list-of-one": [losses.BinaryCrossentropy()],
    "partial": functools.partial(losses.binary_crossentropy, label_smoothing=0.1),
}
CATEGORICAL = {
    "string": "categorical_crossentropy",
    "sparse-string": "sparse_categorical_crossentropy",
    "function": losses.categorical_crossentropy,
    "sparse-function": losses.sparse_categorical_crossentropy,
    "class": losses.CategoricalCrossentropy,
    "instance": losses.CategoricalCrossentropy(),
    "sparse-instance": losses.SparseCategoricalCrossentropy(ignore_class=0),
    "keras-focal": losses.CategoricalFocalCrossentropy(),
    "focal": keras_duo.CategoricalFocal(),
    "sparse-focal": keras_duo.SparseCategoricalFocal(),
}
BINARY_LOGITS = {
    "instance": losses.BinaryCrossentropy(from_logits=True),
    "keras-focal": losses.BinaryFocalCrossentropy(from_logits=True),
    "focal": keras_duo.Focal(from_logits=True),
    "partial": functools.partial(losses.binary_crossentropy, from_logits=True),
}
CATEGORICAL_LOGITS = {
    "instance": losses.CategoricalCrossentropy(from_logits=True),
    "sparse-instance": losses.SparseCategoricalCrossentropy(from_logits=True),
    "keras-focal": losses.CategoricalFocalCrossentropy(from_logits=True),
    "focal": keras_duo.CategoricalFocal(from_logits=True),
    "sparse-focal": keras_duo.SparseCategoricalFocal(from_logits=True),
}
REGRESSION = {name: name for name in ("mse", "mae", "hinge", "log_cosh", "cosine_similarity")} | {
    "huber": losses.Huber(2.0),
    "class": losses.MeanSquaredError,
}
OVERLAP = {
    "function": losses.dice,
    "keras": losses.Tversky(),
    "string": "dice",
    "dice": keras_duo.Dice(),
    "focal": keras_duo.FocalTversky(),
}
ADVERSARIAL = {
    "lsgan": keras_duo.LSGAN(),
    "wasserstein": keras_duo.Wasserstein(),
    "hinge": keras_duo.HingeGAN(),
    "non-saturating": keras_duo.NonSaturating(),
    "relativistic": keras_duo.RelativisticAverage(),
    "function": keras_duo.lsgan_loss,
}
GENERALIZED = {"keras": losses.CategoricalGeneralizedCrossEntropy(0.5)}
RATE = {"class": losses.Poisson(), "string": "poisson", "function": losses.poisson}


def functional(units, activation, then=()):
    inputs = keras.Input((4,))
    outputs = layers.Dense(units, activation=activation)(inputs)
    for step in then:
        outputs = step(outputs)
    return keras.Model(inputs, outputs)


def sequential(units, activation):
    return keras.Sequential([keras.Input((4,)), layers.Dense(units, activation=activation)])


def nested(units, activation):
    inputs = keras.Input((4,))
    inner = keras.Model(inputs, sequential(units, activation)(inputs))
    return keras.Model(inputs, inner(inputs))


def separate(units, activation):
    step = layers.Activation(activation or "linear")
    return functional(units, None, [step, layers.Dropout(0.1), layers.Activation("linear")])


@functools.cache
def built(build, units, activation):
    return build(units, activation)


BUILDERS = [functional, sequential, nested, separate]


# (units, activation, losses, codes)
MATRIX = [
    # Right pairs.
    (1, "sigmoid", BINARY, []),
    (3, "sigmoid", BINARY, []),
    (3, "softmax", CATEGORICAL, []),
    (3, "softmax", {"kld": "kl_divergence", "mse": "mse"}, []),
    (1, None, BINARY_LOGITS, []),
    (3, None, BINARY_LOGITS, []),
    (3, None, CATEGORICAL_LOGITS, []),
    (3, "log_softmax", CATEGORICAL_LOGITS, []),
    (3, "exponential", CATEGORICAL, []),
    (1, "leaky_relu", BINARY_LOGITS, []),
    (1, None, REGRESSION, []),
    (1, "relu", REGRESSION, []),
    (3, "tanh", REGRESSION, []),
    # Wrong ones.
    (3, "softmax", CATEGORICAL_LOGITS, ["softmax-from-logits"]),
    (3, "softmax", BINARY_LOGITS, ["softmax-from-logits"]),
    (1, "sigmoid", BINARY_LOGITS, ["sigmoid-from-logits"]),
    (3, "sigmoid", CATEGORICAL_LOGITS, ["sigmoid-from-logits"]),
    (1, "hard_sigmoid", BINARY_LOGITS, ["sigmoid-from-logits"]),
    (1, None, BINARY, ["logits-as-probabilities"]),
    (3, None, CATEGORICAL | {"kld": losses.KLDivergence()}, ["logits-as-probabilities"]),
    (3, "log_softmax", CATEGORICAL, ["logits-as-probabilities"]),
    (1, "softmax", BINARY | REGRESSION, ["softmax-one-unit"]),
    (1, "sigmoid", CATEGORICAL, ["categorical-one-unit"]),
    (1, None, CATEGORICAL_LOGITS, ["categorical-one-unit"]),
    (2, "softmax", BINARY, ["softmax-multi-label"]),
    (1, "relu", BINARY, ["rectified-probability"]),
    (3, "relu", CATEGORICAL, ["rectified-probability"]),
    (3, "gelu", CATEGORICAL | BINARY, ["rectified-probability"]),
    (1, "softplus", BINARY, ["rectified-probability"]),
    (1, "tanh", BINARY, ["tanh-probability"]),
    (3, "softsign", CATEGORICAL, ["tanh-probability"]),
    (1, "relu", BINARY_LOGITS, ["rectified-logits"]),
    (3, "silu", CATEGORICAL_LOGITS, ["rectified-logits"]),
    (1, "tanh", BINARY_LOGITS, ["bounded-logits"]),
    (3, "tanh", CATEGORICAL_LOGITS, ["bounded-logits"]),
    (3, "sigmoid", CATEGORICAL, ["sigmoid-single-label"]),
    # Other families.
    (3, "softmax", OVERLAP | GENERALIZED, []),
    (3, "sigmoid", OVERLAP, []),
    (3, None, {"overlap": keras_duo.Dice(from_logits="softmax"), "ctc": losses.CTC()}, []),
    (3, None, OVERLAP | GENERALIZED, ["logits-as-probabilities"]),
    (3, "relu", OVERLAP | GENERALIZED, ["rectified-probability"]),
    (3, "tanh", OVERLAP | GENERALIZED, ["tanh-probability"]),
    (3, "sigmoid", GENERALIZED, ["sigmoid-single-label"]),
    (
        3,
        "softmax",
        {"ctc": "ctc", "dice": keras_duo.Dice(from_logits="softmax")},
        ["softmax-from-logits"],
    ),
    (3, "sigmoid", {"ctc": losses.CTC}, ["sigmoid-from-logits"]),
    (1, None, ADVERSARIAL, []),
    (1, "sigmoid", ADVERSARIAL, ["sigmoid-adversarial"]),
    (3, "sigmoid", {"hinge": losses.Hinge(), "string": "squared_hinge"}, ["probability-hinge"]),
    (3, "softmax", {"hinge": "categorical_hinge"}, ["probability-hinge"]),
    (3, "tanh", {"hinge": "categorical_hinge"}, []),
    (1, "exponential", RATE | {"msle": "msle"}, []),
    (1, "softplus", RATE, []),
    (1, "relu", RATE | {"msle": losses.MeanSquaredLogarithmicError()}, []),
    (1, None, RATE | {"msle": "mean_squared_logarithmic_error"}, ["negative-rate"]),
    (1, "gelu", RATE, ["negative-rate"]),
    (4, None, {"boxes": keras_duo.CIoU(), "circle": losses.Circle()}, []),
    (1, None, {"quantile": keras_duo.Quantile(0.9)}, []),
    (3, None, {"quantiles": keras_duo.Quantile([0.1, 0.5, 0.9])}, ["quantiles-cross"]),
    # Keras resolves these by the shape of the output.
    (1, "sigmoid", {"short": "crossentropy"}, []),
    (3, "softmax", {"short": "ce"}, []),
    (1, None, {"short": "ce"}, ["logits-as-probabilities"]),
    (3, None, {"short": "crossentropy"}, ["logits-as-probabilities"]),
    (3, "softmax", {"robust": keras_duo.PolyCrossEntropy()}, []),
    (3, None, {"robust": keras_duo.SymmetricCrossEntropy()}, ["logits-as-probabilities"]),
    (3, None, {"robust": keras_duo.AsymmetricFocal()}, ["logits-as-probabilities"]),
    (3, "softmax", {"learned": keras_duo.LearnedLoss("taylor")}, []),
    (3, None, {"learned": keras_duo.LearnedLoss(from_logits=True)}, []),
    (3, None, {"learned": keras_duo.LearnedLoss()}, ["logits-as-probabilities"]),
    (1, None, {"learned": keras_duo.LearnedLoss(task="regression")}, []),
    # The parts of a MultiObjective, each for itself.
    (1, "sigmoid", {"objective": keras_duo.MultiObjective([keras_duo.Focal(), "LogCosh"])}, []),
    (
        1,
        None,
        {"objective": keras_duo.MultiObjective(["LogCosh", keras_duo.Focal()])},
        ["logits-as-probabilities"],
    ),
]
CASES = [
    pytest.param(units, activation, loss, expected, id=f"{units}-{activation}-{spelling}")
    for units, activation, spellings, expected in MATRIX
    for spelling, loss in spellings.items()
]


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
@pytest.mark.parametrize(("units", "activation", "loss", "expected"), CASES)
def test_matrix(units, activation, loss, expected):
    for build in BUILDERS:
        assert codes(built(build, units, activation), loss) == expected, build


@pytest.mark.parametrize("module", [keras.losses, keras_duo.losses])
def test_every_loss_is_known(module):
    public = {getattr(module, name) for name in dir(module) if not name.startswith("_")}
    found = {c for c in public if isinstance(c, type) and issubclass(c, losses.Loss)}
    # The base class, and the loss whose parts are looked into.
    assert found - set(KNOWN) == (
        {losses.Loss} if module is keras.losses else {keras_duo.MultiObjective}
    )


def test_every_loss_function_is_known():
    ours = {n for n in keras_duo.losses.__all__ if n.endswith("_loss")}
    of_keras = {n for n in dir(keras.losses) if n.islower() and n[0] != "_"}
    functions = {getattr(keras_duo.losses, name) for name in ours}
    functions |= {
        getattr(keras.losses, name) for name in of_keras - {"deserialize", "get", "serialize"}
    }
    assert functions <= set(KNOWN)
    assert len(functions) > 35
