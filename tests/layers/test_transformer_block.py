"""TransformerBlock: the same numbers as other implementations, and what its options promise."""

from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

import keras_duo as duo
from keras_duo.layers._rotary import rotated
from tests.backend import BACKEND, compiled, gradient, has_float64, numpy

SIZE, HEADS, UNITS = 16, 4, 24
MODERN = {
    "activation": "silu",
    "norm_first": True,
    "normalization": "rms",
    "num_kv_heads": 2,
    "rotary": True,
    "qk_norm": True,
    "gated": True,
    "layer_scale": 0.5,
}
OPTIONS = [{}, {"norm_first": True, "activation": "gelu"}, MODERN]


def block(**options):
    """A built block whose biases and scales are not 0 and 1."""
    layer = duo.TransformerBlock(SIZE, HEADS, UNITS, **options)
    layer.build((None, None, SIZE))
    return perturbed(layer)


def perturbed(layer):
    random = np.random.default_rng(3)
    for variable in layer.trainable_variables:
        variable.assign(variable + random.normal(0, 0.2, variable.shape))
    return layer


def tokens(batch=2, length=6, features=SIZE, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, features)).astype("float32")


def parts(layer):
    """The kernels and biases of query, key, value and output, each (features, features)."""
    attention = layer.attention
    kernels = np.split(numpy(attention.query_key_value_kernel), 3, axis=1)
    biases = np.split(numpy(attention.query_key_value_bias), 3)
    return (
        [*kernels, numpy(attention.output_kernel)],
        [*biases, numpy(attention.output_bias)],
    )


def assert_close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(numpy(actual), numpy(expected), tolerance, tolerance)


class Plain(layers.Layer):
    """The block as Keras' own layers."""

    def __init__(self, ours):
        super().__init__()
        self.ours = ours
        self.attention = layers.MultiHeadAttention(HEADS, SIZE // HEADS)
        self.attention.build((None, None, SIZE), (None, None, SIZE))
        kernels, biases = parts(ours)
        heads = (SIZE, HEADS, SIZE // HEADS)
        weights = []
        for kernel, bias in zip(kernels[:3], biases[:3], strict=True):
            weights += [kernel.reshape(heads), bias.reshape(heads[1:])]
        self.attention.set_weights([*weights, kernels[3].reshape(*heads[1:], SIZE), biases[3]])
        self.norms = [layers.LayerNormalization(epsilon=ours.epsilon) for _ in range(2)]
        for norm, residual in zip(
            self.norms, (ours.attention_residual, ours.feed_forward_residual), strict=True
        ):
            norm.build((None, SIZE))
            norm.set_weights(residual.norm.get_weights())
        self.dense = [layers.Dense(UNITS, ours.activation), layers.Dense(SIZE)]
        for dense, name in zip(self.dense, ("hidden", "output"), strict=True):
            kernel = getattr(ours.feed_forward, f"{name}_kernel")
            dense.build((None, kernel.shape[0]))
            dense.set_weights([kernel, getattr(ours.feed_forward, f"{name}_bias")])

    def call(self, x, attention_mask=None):
        causal = self.ours.use_causal_mask

        def attend(y):
            return self.attention(y, y, attention_mask=attention_mask, use_causal_mask=causal)

        for norm, branch in zip(
            self.norms, (attend, lambda y: self.dense[1](self.dense[0](y))), strict=True
        ):
            x = x + branch(norm(x)) if self.ours.norm_first else norm(x + branch(x))
        return x


class TestParity:
    @pytest.mark.parametrize("norm_first", [False, True])
    @pytest.mark.parametrize("causal", [False, True])
    def test_with_the_composition_of_keras_layers(self, norm_first, causal):
        ours = block(norm_first=norm_first, use_causal_mask=causal, activation="gelu")
        plain, x = Plain(ours), tokens()
        assert_close(ours(x), plain(x))
        assert_close(gradient(ours, x), gradient(plain, x))
        seen = np.tri(6, dtype=bool)[None]
        assert_close(ours(x, attention_mask=seen), plain(x, attention_mask=seen))

    @pytest.mark.parametrize("norm_first", [False, True])
    def test_with_torch(self, norm_first):
        torch = pytest.importorskip("torch")
        ours = block(norm_first=norm_first)
        theirs = torch.nn.TransformerEncoderLayer(
            SIZE, HEADS, UNITS, dropout=0.0, norm_first=norm_first, batch_first=True
        )
        (query, key, value, output), biases = parts(ours)
        forward = ours.feed_forward
        residuals = ours.attention_residual, ours.feed_forward_residual
        state = {
            "self_attn.in_proj_weight": np.concatenate([query.T, key.T, value.T]),
            "self_attn.in_proj_bias": np.concatenate(biases[:3]),
            "self_attn.out_proj.weight": output.T,
            "self_attn.out_proj.bias": biases[3],
            "linear1.weight": numpy(forward.hidden_kernel).T,
            "linear1.bias": numpy(forward.hidden_bias),
            "linear2.weight": numpy(forward.output_kernel).T,
            "linear2.bias": numpy(forward.output_bias),
        }
        for i, residual in enumerate(residuals, 1):
            state[f"norm{i}.weight"] = numpy(residual.norm.scale)
            state[f"norm{i}.bias"] = numpy(residual.norm.shift)
        theirs.load_state_dict({k: torch.tensor(v, dtype=torch.float32) for k, v in state.items()})
        x, mask = tokens(), np.arange(6) < np.array([[6], [4]])
        found = theirs(torch.tensor(x), src_key_padding_mask=torch.tensor(~mask)).detach().numpy()
        assert_close(numpy(ours(x, mask=mask))[mask], found[mask])

    def test_grouped_heads_are_repeated_ones(self):
        grouped, full = block(num_kv_heads=2), block()
        kernel, bias = (
            numpy(v)
            for v in (
                grouped.attention.query_key_value_kernel,
                grouped.attention.query_key_value_bias,
            )
        )
        columns = np.arange(SIZE + 16).reshape(-1, SIZE // HEADS)
        # Head i takes the keys of head i % 2: the two heads of keys twice, then those of values.
        order = columns[[0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7]].ravel()
        full.set_weights([*full.get_weights()])
        for ours, theirs in zip(full.weights, grouped.weights, strict=True):
            if "query_key_value" not in ours.path:
                ours.assign(theirs)
        full.attention.query_key_value_kernel.assign(kernel[:, order])
        full.attention.query_key_value_bias.assign(bias[order])
        found = grouped(tokens(), return_attention_scores=True)
        for actual, expected in zip(
            found, full(tokens(), return_attention_scores=True), strict=True
        ):
            assert_close(actual, expected)

    def test_a_gate_is_a_product(self):
        layer = block(gated=True, activation="silu", norm_first=True)
        forward, x = layer.feed_forward, tokens()
        w, b, v, c, out, d = (
            numpy(getattr(forward, f"{name}_{kind}"))
            for name in ("hidden", "gate", "output")
            for kind in ("kernel", "bias")
        )
        hidden = x @ w + b
        expected = (hidden / (1 + np.exp(-hidden)) * (x @ v + c)) @ out + d
        assert_close(forward(x), expected)


class TestMasks:
    @pytest.mark.parametrize("options", OPTIONS)
    def test_a_later_token_changes_no_earlier_output(self, options):
        layer, x = block(use_causal_mask=True, **options), tokens()
        changed = x.copy()
        changed[:, 4:] = tokens(seed=1)[:, 4:]
        before, after = numpy(layer(x)), numpy(layer(changed))
        assert_close(after[:, :4], before[:, :4], 1e-6)
        assert (after[:, 4:] != before[:, 4:]).any()
        # With dropout and scores too: Keras' own layer lost the causal mask there for a while.
        _, scores = block(use_causal_mask=True, attention_dropout=0.5)(
            x, return_attention_scores=True, training=True
        )
        assert (np.triu(numpy(scores), 1) == 0).all()

    @pytest.mark.parametrize("options", OPTIONS)
    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("content", ["numbers", "nan"])
    def test_padding_counts_for_nothing(self, options, side, content):
        layer, x = block(use_causal_mask=side == "left", **options), tokens(length=7)
        mask = np.ones((2, 7), bool)
        mask[1, :3] = False
        mask = mask if side == "left" else mask[:, ::-1]
        other = x.copy()
        other[~mask] = np.nan if content == "nan" else 1e3

        def total(x):
            return ops.where(mask[..., None], layer(x, mask=mask), 0.0)

        assert_close(total(other), total(x), 1e-6)
        slopes = gradient(total, x)
        assert_close(gradient(total, other), slopes, 1e-6)
        assert (slopes[~mask] == 0).all()
        short = layer(x[1:, mask[1]])
        if not options.get("rotary"):
            assert_close(numpy(layer(x, mask=mask))[1, mask[1]], numpy(short)[0])

    def test_the_mask_of_an_embedding_is_used_and_reaches_the_loss(self):
        ids = np.array([[3, 1, 4, 0, 0], [2, 7, 1, 8, 2]])
        entry = keras.Input((None,), dtype="int32")
        x = layers.Embedding(10, SIZE, mask_zero=True)(entry)
        x = duo.PositionalEmbedding(8)(x)
        x = duo.TransformerBlock(SIZE, HEADS, UNITS)(x)
        model = keras.Model(entry, layers.Dense(10)(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss)
        alone = numpy(model(ids[:1, :3]))
        assert_close(numpy(model(ids))[:1, :3], alone)
        expected = loss(ids[:1, :3], alone)
        assert model.evaluate(ids[:1], ids[:1], verbose=0) == pytest.approx(float(expected))

    def test_a_query_that_sees_nothing_gets_nothing(self):
        seen = np.ones((1, 6, 6), bool)
        seen[0, 2] = False
        for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
            layer = block(dtype=policy, num_kv_heads=2)
            _, scores = layer(tokens(), attention_mask=seen, return_attention_scores=True)
            assert (numpy(scores)[:, :, 2] == 0).all()
            assert_close(numpy(scores)[:, :, :2].sum(-1), np.ones((2, HEADS, 2)), 1e-2)
            blind = partial(layer, attention_mask=np.zeros((1, 6, 6), bool))
            slopes = gradient(blind, ops.cast(tokens(), layer.compute_dtype))
            assert np.isfinite(slopes).all()

    def test_numbers_are_no_mask(self):
        layer, x = block(), tokens()
        with pytest.raises(ValueError, match="`attention_mask` must be boolean"):
            layer(x, attention_mask=np.zeros((2, 6, 6), "float32"))
        with pytest.raises(ValueError, match="`attention_mask` must be boolean"):
            layer(x, attention_mask=np.ones((2, 6), bool))
        with pytest.raises(ValueError, match="`mask` must be boolean"):
            layer(x, mask=np.ones((2, 5), bool))


class TestCache:
    @pytest.mark.parametrize("options", OPTIONS)
    def test_outputs_are_those_of_the_full_call(self, options):
        layer, x = block(use_causal_mask=True, **options), tokens()
        found, cache = layer(x[:, :3], cache=layer.initial_cache(2, 9), position=0)
        outputs = [numpy(found)]
        step = compiled(lambda x, cache, at: layer(x, cache=cache, position=at))
        for at in range(3, 6):
            found, cache = step(x[:, at : at + 1], cache, ops.convert_to_tensor(at, "int32"))
            outputs.append(numpy(found))
        assert_close(np.concatenate(outputs, axis=1), layer(x))

    def test_a_mask_is_remembered(self):
        layer, x = block(use_causal_mask=True, rotary=True), tokens()
        mask = np.array([[True] * 6, [False, False, True, True, True, True]])
        cache, outputs = layer.initial_cache(2, 6), []
        for at, end in ((0, 3), (3, 5), (5, 6)):
            found, cache = layer(x[:, at:end], mask=mask[:, at:end], cache=cache, position=at)
            outputs.append(numpy(found))
        expected = numpy(layer(x, mask=mask))
        assert_close(np.concatenate(outputs, axis=1)[mask], expected[mask])

    def test_a_context_and_scores_go_with_it(self):
        layer = duo.TransformerBlock(SIZE, HEADS, UNITS, use_causal_mask=True)
        x, context = tokens(), tokens(length=5, features=7)
        full, scores, across = layer(x, context=context, return_attention_scores=True)
        assert scores.shape == (2, HEADS, 6, 6)
        assert across.shape == (2, HEADS, 6, 5)
        first, seen, _, cache = layer(
            x[:, :4],
            context=context,
            cache=layer.initial_cache(2, 6),
            position=0,
            return_attention_scores=True,
        )
        assert seen.shape == (2, HEADS, 4, 6)
        rest, cache = layer(x[:, 4:], context=context, cache=cache, position=4)
        assert_close(np.concatenate([numpy(first), numpy(rest)], axis=1), full)
        assert set(cache) == {"key", "value", "mask"}

    def test_the_end_of_the_cache_is_seen(self):
        layer, x = block(use_causal_mask=True), tokens()
        cache = layer.initial_cache(2, 8)
        with pytest.raises(ValueError, match="`position` must leave room"):
            layer(x, cache=cache, position=3)
        with pytest.raises(ValueError, match="`position` must leave room"):
            layer(x, cache=cache, position=-1)
        step = compiled(lambda at: layer(x, cache=cache, position=at)[0])
        assert np.isfinite(numpy(step(ops.convert_to_tensor(2)))).all()
        assert np.isnan(numpy(step(ops.convert_to_tensor(3)))).all()

    def test_what_a_cache_cannot_do_is_an_error(self):
        with pytest.raises(ValueError, match="`cache` needs `use_causal_mask`"):
            block()(tokens(), cache=block().initial_cache(2, 8), position=0)
        with pytest.raises(ValueError, match="`position` is that of the inputs in a `cache`"):
            block(use_causal_mask=True)(tokens(), position=2)
        with pytest.raises(ValueError, match="built"):
            duo.TransformerBlock(SIZE, HEADS, UNITS).initial_cache(2, 8)


class TestRotary:
    @settings(max_examples=25)
    @given(st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 2000))
    def test_a_score_depends_on_the_distance(self, query_at, key_at, shift):
        dtype = "float64" if has_float64() else "float32"
        query, key = np.random.default_rng(0).normal(size=(2, 1, 8)).astype(dtype)

        def score(shift):
            turned = rotated(query, query_at + shift, 1e4), rotated(key, key_at + shift, 1e4)
            return (numpy(turned[0]) * numpy(turned[1])).sum()

        # The angles are float32, and their errors grow with the position.
        np.testing.assert_allclose(score(shift), score(0), atol=1e-2)

    def test_the_angles_are_those_of_the_paper(self):
        x = np.zeros((5, 6))
        x[:, 0], x[:, 2] = 1.0, 1.0
        turned = numpy(rotated(ops.convert_to_tensor(x, "float32"), 3, 100.0))
        angles = np.arange(3, 8)[:, None] * 100.0 ** (-2 * np.array([0, 2]) / 6)
        assert_close(turned[:, [0, 2]], np.cos(angles))
        assert_close(turned[:, [3, 5]], np.sin(angles))

    def test_a_shifted_sequence_gives_the_same(self):
        layer, x = block(**MODERN), tokens()
        shifted = np.concatenate([np.zeros((2, 3, SIZE), "float32"), x], axis=1)
        mask = np.arange(9) >= 3
        found = layer(shifted, mask=np.broadcast_to(mask, (2, 9)))
        assert_close(numpy(found)[:, 3:], layer(x))
        assert np.abs(numpy(layer(x[:, ::-1]))[:, ::-1] - numpy(layer(x))).max() > 1e-3


class TestTraining:
    def test_every_weight_gets_a_gradient_across_too(self):
        layer = duo.TransformerBlock(SIZE, HEADS, UNITS, **{**MODERN, "use_causal_mask": True})
        entry, context = keras.Input((6, SIZE)), keras.Input((5, 7))
        model = keras.Model([entry, context], layer(entry, context=layers.Masking()(context)))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        before = [numpy(v) for v in model.trainable_variables]
        data = [tokens(), tokens(length=5, features=7)]
        model.train_on_batch(data, tokens(seed=2))
        for old, variable in zip(before, model.trainable_variables, strict=True):
            assert (numpy(variable) != old).any(), variable.path

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX differentiates the value itself")
    def test_the_gradient_has_a_gradient(self):
        """As a gradient penalty takes it."""
        import tensorflow as tf

        for options in OPTIONS:
            layer = block(dtype="float64", **{**options, "activation": "tanh"})
            x, weights = tokens().astype("float64"), tokens(seed=1).astype("float64")

            def slope(x, layer=layer, weights=weights):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    value = layer(x)
                return tf.reduce_sum(weights * tape.gradient(value, x, output_gradients=x))

            found, step = gradient(slope, x), 1e-5 * weights
            rise = numpy(slope(ops.convert_to_tensor(x + step)))
            rise -= numpy(slope(ops.convert_to_tensor(x - step)))
            np.testing.assert_allclose((found * weights).sum(), rise / 2e-5, rtol=1e-6)

    def test_a_block_with_a_context_is_saved_and_loaded(self, tmp_path):
        entry, context = keras.Input((None, SIZE)), keras.Input((None, 7))
        masked = layers.Masking()(context)
        layer = duo.TransformerBlock(SIZE, HEADS, UNITS, activation=duo.Swish())
        model = keras.Model([entry, context], layer(entry, context=masked))
        perturbed(layer)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        data = [tokens(), tokens(length=5, features=7)]
        data[1][:, 3:] = 0.0
        assert_close(again(data), model(data), 1e-6)
        longer = [data[0], np.pad(data[1], ((0, 0), (0, 4), (0, 0)))]
        assert_close(model(longer), model(data))

    def test_a_skipped_example_is_the_input(self):
        layer, x = block(norm_first=True, drop_path=0.5), tokens(batch=64)
        kept, branch = numpy(layer(x, training=True)), numpy(layer.attention(x)[0])
        assert branch.shape == x.shape
        skipped = (kept == x).all(axis=(1, 2))
        # Both branches skipped, of four equally likely cases.
        assert 5 < skipped.sum() < 30

    def test_dropout_is_for_training(self):
        layer, x = block(dropout=0.3, attention_dropout=0.3, drop_path=0.3), tokens()
        assert_close(layer(x), layer(x, training=False), 0)
        assert (numpy(layer(x, training=True)) != numpy(layer(x, training=True))).any()

    def test_a_scale_of_zero_leaves_the_input(self):
        layer = duo.TransformerBlock(SIZE, HEADS, UNITS, norm_first=True, layer_scale=0.0)
        assert_close(layer(tokens()), tokens(), 0)
        zero = duo.TransformerBlock(
            SIZE, HEADS, UNITS, norm_first=True, residual_initializer="zeros"
        )
        assert_close(zero(tokens()), tokens(), 0)

    def test_half_precision_trains(self):
        for policy in ("mixed_float16", "mixed_bfloat16"):
            layer = duo.TransformerBlock(SIZE, HEADS, UNITS, use_causal_mask=True, dtype=policy)
            model = keras.Sequential([keras.Input((6, SIZE)), layers.Masking(), layer])
            model.compile(keras.optimizers.Adam(1e-2), "mse")
            x = tokens(batch=8)
            x[:4, :2] = 0.0
            history = model.fit(x, tokens(batch=8, seed=1), epochs=8, verbose=0).history["loss"]
            assert np.isfinite(history).all()
            assert history[-1] < history[0]


class TestActivations:
    def test_a_learned_activation_is_there_before_training(self):
        layer = duo.TransformerBlock(SIZE, HEADS, UNITS, activation=duo.Acon())
        model = keras.Sequential([keras.Input((None, SIZE)), layer])
        ours = {id(v) for v in layer.activation.trainable_variables}
        assert len(ours) == 3
        assert ours <= {id(v) for v in model.trainable_variables}

    def test_a_mean_over_positions_is_refused_under_causality(self):
        for activation in (duo.DynamicReLU(), duo.LearnableActivation(duo.MetaAcon())):
            with pytest.raises(ValueError, match="`activation` must not take a mean"):
                duo.TransformerBlock(
                    SIZE, HEADS, UNITS, activation=activation, use_causal_mask=True
                )
        local = duo.DynamicReLU(context="position")
        duo.TransformerBlock(SIZE, HEADS, UNITS, activation=local, use_causal_mask=True)

    def test_a_mean_over_positions_leaves_out_the_padding(self):
        layer, x = block(activation=duo.DynamicReLU()), tokens()
        mask = np.arange(6) < np.array([[6], [4]])
        assert_close(numpy(layer(x, mask=mask))[1, :4], numpy(layer(x[1:, :4]))[0])

    @pytest.mark.skipif(BACKEND != "tensorflow", reason="the monitor needs TensorFlow")
    def test_a_monitor_sees_the_activation_once(self):
        model = keras.Sequential(
            [keras.Input((6, SIZE)), duo.TransformerBlock(SIZE, HEADS, UNITS), layers.Dense(1)]
        )
        model.compile("sgd", "mse")
        monitor = duo.ActivationMonitor(tokens(batch=80), np.zeros((80, 6, 1)))
        history = model.fit(
            tokens(batch=80), np.zeros((80, 6, 1)), verbose=0, callbacks=[monitor]
        ).history
        assert [name for name in history if name.startswith("dead/")] == [
            "dead/feed_forward",
            f"dead/{model.layers[-1].name}",
        ]


class TestErrors:
    def test_heads_that_do_not_divide(self):
        with pytest.raises(ValueError, match="`num_heads` must divide `embed_dim`"):
            duo.TransformerBlock(8, 3, 16)
        with pytest.raises(ValueError, match="`num_kv_heads` must divide `num_heads`"):
            duo.TransformerBlock(8, 4, 16, num_kv_heads=3)
        with pytest.raises(ValueError, match="`rotary` needs heads of an even size"):
            duo.TransformerBlock(9, 3, 16, rotary=True)

    def test_a_context_is_there_always_or_never(self):
        layer = block()
        with pytest.raises(ValueError, match="`context` must be given in every call or in none"):
            layer(tokens(), context=tokens())
        layer = duo.TransformerBlock(SIZE, HEADS, UNITS)
        layer(tokens(), context=tokens())
        with pytest.raises(ValueError, match="`context` must be given in every call or in none"):
            layer(tokens())

    def test_loading_resolves_no_function_by_name(self):
        config = duo.TransformerBlock(SIZE, HEADS, UNITS).get_config()
        hostile = {"module": "keras.config", "class_name": "function", "config": "set_floatx"}
        with pytest.raises(ValueError, match="`activation` in a saved config"):
            duo.TransformerBlock.from_config({**config, "activation": hostile})
