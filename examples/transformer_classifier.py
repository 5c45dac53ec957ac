"""Handwritten digits read row by row: an encoder from TransformerBlock, with padding in use.

An image is a sequence of its rows. Rows without ink are padding: `Masking` marks them, the blocks
pass them over, and the mean over the rows leaves them out. Takes the data that examples/mnist.py
finds: MNIST, or the digits that come with scikit-learn. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import os
from pathlib import Path

import keras
import matplotlib
import numpy as np
from keras import layers
from mnist import load

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WIDTH, HEADS, BLOCKS = 64, 4, 2


def main():
    """Load, train, pad further, save, reload, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/transformer_classifier"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, *splits = load(args.data, Path(args.data_dir).expanduser())
    (x_train, y_train), (x_test, y_test) = ((rows(x), y) for x, y in splits)
    blank = 100 * (x_train == 0).all(axis=-1).mean()
    print(f"Data: {source}, {len(x_train)} training images; {blank:.0f} % of their rows are blank")

    keras.utils.set_random_seed(args.seed)
    model = classifier(*x_train.shape[1:])
    model.summary()
    history = model.fit(
        x_train, y_train, batch_size=128, epochs=args.epochs, validation_split=0.1
    ).history
    accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0)[1]
    print(f"\nTest error: {100 * (1 - accuracy):.2f} %")

    model.save(args.out / "model.keras")
    again = keras.saving.load_model(args.out / "model.keras")
    few = x_test[:500]
    predicted = model.predict(few, verbose=0)
    longer = np.pad(few, ((0, 0), (0, 4), (0, 0)))
    for what, found in (
        ("Reloaded", again.predict(few, verbose=0)),
        ("With four more blank rows", again.predict(longer, verbose=0)),
    ):
        print(f"{what}: logits differ by at most {np.abs(found - predicted).max():.1e}")
    draw(model, history, x_test[:4], args.out)
    print(f"Pictures and model: {args.out}")


def classifier(height, width):
    """Rows to vectors, blocks, the mean over the rows with ink, logits of ten digits."""
    entry = keras.Input((None, width))
    x = layers.Masking()(entry)
    x = layers.Dense(WIDTH)(x)
    x = duo.PositionalEmbedding(height + 4, name="positions")(x)
    for _ in range(BLOCKS):
        x = duo.TransformerBlock(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.1, activation="gelu", norm_first=True
        )(x)
    x = layers.LayerNormalization()(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(entry, layers.Dense(10)(x))
    loss = duo.CategoricalFocal(gamma=0.0, label_smoothing=0.1, from_logits=True)
    model.compile(keras.optimizers.AdamW(2e-3), loss=loss, metrics=["accuracy"])
    return model


def rows(images):
    """Images as sequences of their rows."""
    side = round(images.shape[-1] ** 0.5)
    return images.reshape(-1, side, side)


def draw(model, history, images, folder):
    """Learning curves; and for each image, how much the rows look at each row."""
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    epochs = np.arange(1, len(history["loss"]) + 1)
    for name, label in (("accuracy", "training"), ("val_accuracy", "validation")):
        axis.plot(epochs, 100 * (1 - np.array(history[name])), marker="o", label=label)
    axis.set(xlabel="epoch", ylabel="error in %")
    axis.legend()
    figure.savefig(folder / "learning_curves.png", dpi=120)

    block = next(layer for layer in model.layers if isinstance(layer, duo.TransformerBlock))
    before = keras.Model(model.input, model.get_layer("positions").output)
    _, scores = block(before(images), return_attention_scores=True)
    mean = keras.ops.convert_to_numpy(scores).mean(axis=1)  # over the heads
    figure, axes = plt.subplots(2, len(images), figsize=(10, 5.5), layout="constrained")
    for image, weights, (top, bottom) in zip(images, mean, axes.T, strict=True):
        top.imshow(image, cmap="gray_r")
        bottom.imshow(weights, cmap="Blues")
        top.set(xticks=[], ylabel="row")
        bottom.set(xlabel="row looked at", ylabel="row that looks")
    figure.suptitle("Attention of the first block, mean over its heads: blank rows are not seen")
    figure.savefig(folder / "attention.png", dpi=120)


if __name__ == "__main__":
    main()
