"""DynamicReLU and AttentionActivation: their formulas, what they look at, and what reaches it."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_duo as duo
from tests.backend import compiled, gradient, numpy
from tests.contracts.layer_promises import perturb

LAYERS = [duo.DynamicReLU, duo.AttentionActivation]
CONTEXTS = ["mean", "position"]
RANDOM = np.random.default_rng(0)
SEQUENCE = RANDOM.normal(size=(3, 5, 8)).astype("float32")
IMAGE = RANDOM.normal(size=(2, 3, 4, 8)).astype("float32")


def trained(layer, shape):
    """The layer with weights that are not the initial ones, of either sign."""
    layer.build(shape)
    random = np.random.default_rng(1)
    for variable in layer.weights:
        variable.assign(random.normal(size=variable.shape))
    return layer


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def dynamic_relu_of(layer, x, c):
    """The definition in arXiv:2003.10027, equations 2 to 4, in float64."""
    kernel, bias, kernels, biases = (numpy(w) for w in layer.weights)
    hidden = np.maximum(c @ kernel + bias, 0)
    theta = [2 * sigmoid(hidden @ w + b) - 1 for w, b in zip(kernels, biases, strict=True)]
    alpha = [1.0, *[0.0] * (layer.pieces - 1)]
    pieces = [
        (alpha[k] + 1.0 * theta[k]) * x + (0.0 + 0.5 * theta[layer.pieces + k])
        for k in range(layer.pieces)
    ]
    return np.max(pieces, axis=0)


def attention_of(layer, x, c):
    key, (thresholds, slopes, negative_slopes) = (numpy(w) for w in layer.weights)
    scores = np.exp(c @ key)
    heads = np.split(scores, layer.heads, axis=-1)
    p = np.concatenate([head / head.sum(-1, keepdims=True) for head in heads], axis=-1)
    above = x - p @ thresholds
    return np.where(above > 0, (1 + p @ slopes) * above, p @ negative_slopes * above)


DEFINITIONS = [
    (duo.DynamicReLU, {"reduction": 2}, dynamic_relu_of),
    (duo.DynamicReLU, {"reduction": 3, "pieces": 4}, dynamic_relu_of),
    (duo.AttentionActivation, {}, attention_of),
    (duo.AttentionActivation, {"heads": 3, "slots": 2}, attention_of),
]


class TestValues:
    @pytest.mark.parametrize(("cls", "arguments", "definition"), DEFINITIONS)
    @pytest.mark.parametrize("x", [SEQUENCE[:, 0], SEQUENCE, IMAGE], ids=["2", "3", "4"])
    @pytest.mark.parametrize("context", CONTEXTS)
    def test_it_is_the_definition(self, cls, arguments, definition, x, context):
        layer = trained(cls(context=context, **arguments), x.shape)
        wide = x.astype("float64")
        c = wide
        if context == "mean":
            c = wide.mean(tuple(range(1, x.ndim - 1)), keepdims=True)
        expected = definition(layer, wide, c)
        np.testing.assert_allclose(numpy(layer(x)), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("cls", LAYERS)
    @pytest.mark.parametrize("context", CONTEXTS)
    def test_channels_first_is_channels_last_transposed(self, cls, context):
        last = trained(cls(context=context), IMAGE.shape)
        first = cls(context=context, axis=1)
        image = np.moveaxis(IMAGE, -1, 1)
        first.build(image.shape)
        first.set_weights(last.get_weights())
        moved = np.moveaxis(numpy(first(image)), 1, -1)
        np.testing.assert_allclose(moved, numpy(last(IMAGE)), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("cls", LAYERS)
    @pytest.mark.parametrize("context", CONTEXTS)
    @pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
    def test_it_starts_as_relu(self, cls, context, policy):
        x = 100 * SEQUENCE
        output = cls(context=context, dtype=policy)(x)
        expected = ops.relu(ops.cast(x, output.dtype))
        np.testing.assert_array_equal(numpy(output), numpy(expected))

    def test_the_coefficients_of_dynamic_relu_are_bounded(self):
        """Slopes at most 1 from those of relu, intercepts at most 1/2."""
        layer = trained(duo.DynamicReLU(reduction=1), (1, 8))
        for variable in layer.weights:
            variable.assign(1e3 * variable)
        x = np.ones((1, 8), "float32")
        output = numpy(layer(x))
        assert (np.abs(output) <= 2.5).all()
        assert (np.abs(output) > 1.4).any()

    @pytest.mark.parametrize("cls", LAYERS)
    def test_a_long_sequence_in_half_precision_has_a_finite_mean(self, cls):
        layer = trained(cls(context="mean", dtype="mixed_float16"), (1, 70_000, 2))
        assert np.isfinite(numpy(layer(np.full((1, 70_000, 2), 4.0, "float16")))).all()


class TestContext:
    @pytest.mark.parametrize("cls", LAYERS)
    @pytest.mark.parametrize("context", CONTEXTS)
    def test_what_is_masked_changes_nothing(self, cls, context):
        layer = trained(cls(context=context), SEQUENCE.shape)
        mask = np.arange(5) < np.array([[5], [3], [1]])
        other = np.where(mask[..., None], SEQUENCE, 1e3).astype("float32")
        run = compiled(lambda x, mask: layer(x, mask=mask))
        outputs = [numpy(run(ops.convert_to_tensor(x), mask)) for x in (SEQUENCE, other)]
        np.testing.assert_array_equal(outputs[0][mask], outputs[1][mask])
        for i, length in enumerate((5, 3, 1)):
            alone = numpy(layer(SEQUENCE[i : i + 1, :length]))
            np.testing.assert_allclose(outputs[0][i, :length], alone[0], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("cls", LAYERS)
    def test_the_mask_of_keras_arrives(self, cls):
        layer = trained(cls(context="mean"), SEQUENCE.shape)
        model = keras.Sequential([keras.Input((None, 8)), keras.layers.Masking(), layer])
        padded = np.concatenate([SEQUENCE, np.zeros((3, 7, 8), "float32")], axis=1)
        expected = numpy(layer(SEQUENCE))
        np.testing.assert_allclose(numpy(model(padded))[:, :5], expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("cls", LAYERS)
    def test_an_example_without_a_single_step_is_finite(self, cls):
        layer = trained(cls(context="mean"), SEQUENCE.shape)
        mask = np.zeros((3, 5), bool)
        assert np.isfinite(numpy(layer(SEQUENCE, mask=mask))).all()
        assert np.isfinite(gradient(lambda x: layer(x, mask=mask), SEQUENCE)).all()

    @pytest.mark.parametrize("cls", LAYERS)
    @pytest.mark.parametrize(("context", "sees"), [("mean", True), ("position", False)])
    def test_only_the_mean_shows_the_future_to_the_past(self, cls, context, sees):
        layer = trained(cls(context=context), SEQUENCE.shape)
        later = SEQUENCE.copy()
        later[:, 3:] += 1.0
        changed = numpy(layer(later))[:, :3] != numpy(layer(SEQUENCE))[:, :3]
        assert changed.any() == sees

    def test_the_defaults(self):
        assert duo.DynamicReLU().context == "mean"  # as in the paper
        assert duo.AttentionActivation().context == "position"


class TestTraining:
    @pytest.mark.parametrize("cls", LAYERS)
    def test_every_weight_moves_from_the_second_step_on(self, cls):
        """The last layer of the small network starts at zero and stops the gradient until then."""
        layer = cls()
        model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        x, y = RANDOM.normal(size=(64, 8)), RANDOM.normal(size=(64, 1))
        moved = []
        for _ in range(2):
            before = layer.get_weights()
            model.train_on_batch(x, y)
            pairs = zip(layer.get_weights(), before, strict=True)
            moved.append([bool((after != old).any()) for after, old in pairs])
        assert moved[0][-1]
        assert all(moved[1])

    @pytest.mark.parametrize(
        "make",
        [lambda: duo.DynamicReLU(reduction=1), duo.AttentionActivation],
        ids=["DynamicReLU", "AttentionActivation"],
    )
    def test_it_learns_what_relu_cannot(self, make):
        """|x_1| where x_2 > 0, and 0 elsewhere: what a unit does depends on another one."""
        x = np.random.default_rng(0).normal(size=(512, 2)).astype("float32")
        y = np.abs(x[:, :1]) * (x[:, 1:] > 0)
        features = np.concatenate([np.maximum(x, 0), np.ones((512, 1))], axis=1)
        _, (best_of_relu,), *_ = np.linalg.lstsq(features, y)
        model = keras.Sequential([keras.Input((2,)), make(), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.1), "mse")
        losses = [model.train_on_batch(x, y) for _ in range(60)]
        assert losses[-1] < 0.6 * best_of_relu / 512

    @pytest.mark.parametrize("cls", LAYERS)
    def test_as_activation_it_is_saved_with_its_holder(self, cls, tmp_path):
        model = keras.Sequential(
            [
                keras.Input((4, 3)),
                keras.layers.Conv1D(6, 2, activation=cls()),
                keras.layers.LSTM(5, activation=cls()),
                keras.layers.Dense(
                    2, activation=cls(pieces=3) if cls is duo.DynamicReLU else cls(heads=2)
                ),
            ]
        )
        x = RANDOM.normal(size=(4, 4, 3)).astype("float32")
        model(x)
        for layer in model.layers:
            perturb(layer)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(numpy(again(x)), numpy(model(x)), rtol=1e-6)
        assert len(again.trainable_variables) == len(model.trainable_variables)


class TestErrors:
    @pytest.mark.parametrize("cls", LAYERS)
    def test_a_context_is_named(self, cls):
        with pytest.raises(ValueError, match=r'`context` must be "mean" or "position". Received'):
            cls(context="channel")
