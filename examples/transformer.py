"""A language model of characters from TransformerBlock, trained, saved, reloaded and sampled.

The setting is the one that nanoGPT publishes for a CPU: 4 layers, 4 heads, 128 wide, a context of
64 characters, batches of 12, 2000 steps, no dropout; an epoch is 100 steps. Takes tiny_shakespeare
from TensorFlow Datasets, or the English of Python's own manual where there is no network. With
`--plain` it trains the plain block beside it. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import os
import time
from pathlib import Path
from pydoc_data.topics import topics

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from keras import layers, ops
from mnist import answers

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# The file that TFDS downloads for tiny_shakespeare.
HOST = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
CONTEXT, WIDTH, HEADS, BLOCKS, BATCH, STEPS = 64, 128, 4, 4, 12, 100


def main():
    """Load, train, save, reload, sample, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="of 100 steps each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="train the plain block as well")
    parser.add_argument("--data", choices=["auto", "shakespeare", "manual"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/transformer"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, text = load(args.data, Path(args.data_dir).expanduser())
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    ids = np.array([number[character] for character in text], "uint8")
    split = int(0.9 * len(ids))
    train, (x_test, y_test) = windows(ids[:split], 1), windows(ids[split:], CONTEXT)
    print(f"Data: {source}, {len(text):,} characters, {len(alphabet)} different ones")

    curves = {}
    for name, build in [("keras_duo", modern), ("plain", plain)][: 1 + args.plain]:
        print(f"\n{name}: {build.__doc__}")
        keras.utils.set_random_seed(args.seed)
        model, optimizer = build(len(alphabet), args.epochs * STEPS)
        model.compile(optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        clock = Clock()
        history = model.fit(
            *train,
            batch_size=BATCH,
            epochs=args.epochs,
            steps_per_epoch=STEPS,
            validation_data=(x_test[::4], y_test[::4]),
            validation_batch_size=100,
            callbacks=[clock],
        ).history
        loss = model.evaluate(x_test, y_test, batch_size=100, verbose=0)
        parameters = f"{model.count_params():,} parameters"
        print(f"Validation: {loss:.3f} nats per character; {parameters}, {clock.seconds[-1]:.0f} s")
        curves[name] = (history, clock.seconds)
        model.save(args.out / f"{name}.keras")
    draw(curves, args.out / "loss.png")

    model = keras.saving.load_model(args.out / "keras_duo.keras")
    ids = sample(model, [number["\n"]], 500, np.random.default_rng(args.seed))
    print(f"\nReloaded, and sampled with the cache:\n{''.join(alphabet[i] for i in ids)}")
    print(f"\nPicture and model: {args.out}")


@keras.saving.register_keras_serializable("examples")
def squared_relu(x):
    """max(x, 0) ** 2."""
    return ops.square(ops.relu(x))


def modern(vocabulary, steps):
    """Rotary positions, RMS and QK norm, squared relu, blocks that start as nothing, Muon."""
    entry = keras.Input((None,), dtype="int32")
    x = layers.Embedding(vocabulary, WIDTH, name="embedding")(entry)
    for _ in range(BLOCKS):
        x = duo.TransformerBlock(
            WIDTH,
            HEADS,
            4 * WIDTH,
            activation=squared_relu,
            norm_first=True,
            normalization="rms",
            use_causal_mask=True,
            rotary=True,
            qk_norm=True,
            use_bias=False,
            residual_initializer="zeros",
        )(x)
    x = layers.RMSNormalization(name="norm")(x)
    logits = layers.Dense(vocabulary, use_bias=False, name="head")(x)
    # Muon for the matrices of the blocks, AdamW at 3e-3 for the embedding, the head and the rest.
    optimizer = keras.optimizers.Muon(
        keras.optimizers.schedules.CosineDecay(0.02, steps),
        adam_lr_ratio=0.15,
        exclude_layers=["head"],
        rms_rate=None,
    )
    return keras.Model(entry, logits), optimizer


def plain(vocabulary, steps):
    """Learned positions, layer norm, gelu, AdamW, as in GPT-2 and nanoGPT."""
    entry = keras.Input((None,), dtype="int32")
    x = layers.Embedding(vocabulary, WIDTH)(entry)
    x = duo.PositionalEmbedding(CONTEXT)(x)
    for _ in range(BLOCKS):
        x = duo.TransformerBlock(
            WIDTH, HEADS, 4 * WIDTH, activation="gelu", norm_first=True, use_causal_mask=True
        )(x)
    x = layers.LayerNormalization()(x)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=1e-4, warmup_target=1e-3, warmup_steps=steps // 20
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.1, beta_2=0.99)
    return keras.Model(entry, layers.Dense(vocabulary)(x)), optimizer


def sample(model, ids, length, random, temperature=0.8):
    """Characters drawn one by one; the keys and values of those before stay in the cache."""
    embedding, norm, head = (model.get_layer(name) for name in ("embedding", "norm", "head"))
    blocks = [layer for layer in model.layers if isinstance(layer, duo.TransformerBlock)]
    room = len(ids) + length

    @tf.function(reduce_retracing=True)
    def step(new, caches, position):
        x, updated = embedding(new), []
        # No further back than in training; each block looks as far again.
        near = ops.arange(room) > position - CONTEXT
        near = ops.broadcast_to(near, (1, ops.shape(new)[1], room))
        for block, cache in zip(blocks, caches, strict=True):
            x, cache = block(x, cache=cache, position=position, attention_mask=near)
            updated.append(cache)
        return head(norm(x))[0, -1], updated

    caches, new, ids = [block.initial_cache(1, room) for block in blocks], ids, list(ids)
    for _ in range(length):
        position = ops.convert_to_tensor(len(ids) - len(new))
        logits, caches = step(ops.convert_to_tensor([new]), caches, position)
        chances = keras.ops.convert_to_numpy(ops.softmax(logits / temperature)).astype("float64")
        new = [int(random.choice(len(chances), p=chances / chances.sum()))]
        ids += new
    return ids


class Clock(keras.callbacks.Callback):
    """Seconds of training at the end of each epoch, without those of validation."""

    def on_train_begin(self, logs=None):
        """Start."""
        self.seconds, self.paused, self.start = [], 0.0, time.perf_counter()

    def on_test_begin(self, logs=None):
        """Stop."""
        self.pause = time.perf_counter()
        self.seconds.append(self.pause - self.start - self.paused)

    def on_test_end(self, logs=None):
        """Go on."""
        self.paused += time.perf_counter() - self.pause


def load(data, folder):
    """What the text is, and the text."""
    prepared = any(folder.glob("tiny_shakespeare/*/dataset_info.json"))
    if data == "manual" or (data == "auto" and not prepared and not answers(HOST, seconds=3)):
        return "the Python manual (pydoc_data.topics, bundled)", "\n".join(topics.values())
    import tensorflow_datasets as tfds  # slow to import, and only needed here

    parts = tfds.load(
        "tiny_shakespeare", split="all", batch_size=-1, data_dir=folder, download=not prepared
    )
    text = b"".join(tfds.as_numpy(parts)["text"]).decode()
    return "TFDS tiny_shakespeare", text


def windows(ids, step):
    """Stretches of text as long as the context, and what follows each of their characters."""
    stretches = np.lib.stride_tricks.sliding_window_view(ids, CONTEXT + 1)[::step]
    return stretches[:, :-1], stretches[:, 1:]


def draw(curves, path):
    """Training and validation loss, against steps and against seconds."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for i, (name, (history, seconds)) in enumerate(curves.items()):
        steps = STEPS * np.arange(1, len(seconds) + 1)
        for axis, x in zip(axes, (steps, seconds), strict=True):
            axis.plot(x, history["val_loss"], f"C{i}o-", label=f"{name}, validation")
            axis.plot(x, history["loss"], f"C{i}--", label=f"{name}, training")
    axes[0].set(xlabel="steps", ylabel="nats per character")
    axes[1].set(xlabel="seconds of training")
    axes[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
