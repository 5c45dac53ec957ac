"""A language model of characters from TransformerBlock: trained, saved, reloaded and sampled.

The setting is the one that nanoGPT publishes for a CPU: 4 layers, 4 heads, 128 wide, a context of
64 characters, batches of 12, 2000 steps, no dropout; an epoch here is 100 steps. Takes
tiny_shakespeare from TensorFlow Datasets, or the English of Python's own manual where there is no
network. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import os
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
    parser.add_argument("--data", choices=["auto", "shakespeare", "manual"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/transformer"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, text = load(args.data, Path(args.data_dir).expanduser())
    alphabet, (x_train, y_train), (x_test, y_test) = split(text)
    print(f"Data: {source}, {len(text):,} characters, {len(alphabet)} different ones")

    keras.utils.set_random_seed(args.seed)
    model = language_model(len(alphabet), steps=args.epochs * STEPS)
    model.summary()
    history = model.fit(
        x_train,
        y_train,
        batch_size=BATCH,
        epochs=args.epochs,
        steps_per_epoch=STEPS,
        validation_data=(x_test[::4], y_test[::4]),
        validation_batch_size=100,
    ).history
    loss = model.evaluate(x_test, y_test, batch_size=100, verbose=0)
    print(f"\nValidation loss on the last tenth of the text: {loss:.3f} nats per character")

    model.save(args.out / "model.keras")
    again = keras.saving.load_model(args.out / "model.keras")
    print(f"Saved and reloaded: {again.evaluate(x_test, y_test, batch_size=100, verbose=0):.3f}")
    drawn = sample(again, alphabet.index("\n"), 500, np.random.default_rng(args.seed))
    print(f"\nText drawn with the cache:\n{''.join(alphabet[i] for i in drawn)}")
    draw(history, args.out / "loss.png")
    print(f"\nPicture and model: {args.out}")


@keras.saving.register_keras_serializable("examples")
def squared_relu(x):
    """max(x, 0) ** 2."""
    return ops.square(ops.relu(x))


def language_model(vocabulary, steps):
    """Logits of the next character at each position."""
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
    head = layers.Dense(vocabulary, use_bias=False, kernel_initializer="zeros", name="head")
    model = keras.Model(entry, head(x))
    # Muon for the matrices of the blocks; AdamW at 3e-3 for the embedding, the head and the rest.
    optimizer = keras.optimizers.Muon(
        keras.optimizers.schedules.CosineDecay(0.02, steps),
        adam_lr_ratio=0.15,
        adam_beta_2=0.99,
        exclude_layers=["head"],
        rms_rate=WIDTH**-0.5,  # the update of a square matrix is the learning rate
    )
    model.compile(optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def sample(model, start, length, random, temperature=0.8):
    """Characters drawn one by one; the keys and values of those before stay in the cache."""
    embedding, norm, head = (model.get_layer(name) for name in ("embedding", "norm", "head"))
    blocks = [layer for layer in model.layers if isinstance(layer, duo.TransformerBlock)]

    @tf.function
    def step(character, caches, position):
        x, updated = embedding(ops.reshape(character, (1, 1))), []
        # Each block looks no further back than in training.
        near = ops.reshape(ops.arange(length) > position - CONTEXT, (1, 1, length))
        for block, cache in zip(blocks, caches, strict=True):
            x, cache = block(x, cache=cache, position=position, attention_mask=near)
            updated.append(cache)
        return ops.softmax(head(norm(x))[0, 0] / temperature), updated

    caches, drawn = [block.initial_cache(1, length) for block in blocks], [start]
    for position in range(length):
        chances, caches = step(tf.constant(drawn[-1]), caches, tf.constant(position))
        chances = ops.convert_to_numpy(chances).astype("float64")
        drawn.append(random.choice(len(chances), p=chances / chances.sum()))
    return drawn


def load(data, folder):
    """What the text is, and the text."""
    prepared = any(folder.glob("tiny_shakespeare/*/dataset_info.json"))
    if data == "manual" or (data == "auto" and not prepared and not answers(HOST, seconds=3)):
        return "the Python manual (pydoc_data.topics, bundled)", "\n".join(topics.values())
    import tensorflow_datasets as tfds  # slow to import, and only needed here

    parts = tfds.load(
        "tiny_shakespeare", split="all", batch_size=-1, data_dir=folder, download=not prepared
    )
    return "TFDS tiny_shakespeare", b"".join(tfds.as_numpy(parts)["text"]).decode()


def split(text):
    """The characters, then (inputs, what follows each of them) of the first 9/10 and of the rest.

    For training every stretch of the length of the context, for validation one after the other.
    """
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    ids = np.array([number[character] for character in text], "uint8")
    cut = int(0.9 * len(ids))
    stretches = [
        np.lib.stride_tricks.sliding_window_view(part, CONTEXT + 1)[::step]
        for part, step in ((ids[:cut], 1), (ids[cut:], CONTEXT))
    ]
    return alphabet, *((each[:, :-1], each[:, 1:]) for each in stretches)


def draw(history, path):
    """Training and validation loss against the steps."""
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    steps = STEPS * np.arange(1, len(history["loss"]) + 1)
    axis.plot(steps, history["loss"], marker="o", label="training, mean over the epoch")
    axis.plot(steps, history["val_loss"], marker="o", label="validation")
    axis.set(xlabel="steps", ylabel="nats per character")
    axis.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
