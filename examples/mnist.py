"""Handwritten digits with the pair: a learnable activation inside, a smoothed loss at the end.

Trains the reference network 784-512-256-10 twice, with relu and categorical cross-entropy and with
the pair of keras_duo, and compares them. Needs `pip install "keras-duo[examples]"`.
"""

import argparse
import contextlib
import os
import threading
import time
import urllib.request
from pathlib import Path

import keras
import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# The first file that TFDS downloads for MNIST.
HOST = "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz"


def main():
    """Load, train both variants, compare, save, reload."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/mnist"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, (x_train, y_train), (x_test, y_test) = load(args.data, Path(args.data_dir).expanduser())
    print(f"Data: {source}, {len(x_train)} training and {len(x_test)} test images")
    results = {}
    for name, build in (("baseline", baseline), ("duo", pair)):
        print(f"\n{name}: {build.__doc__}")
        keras.utils.set_random_seed(args.seed)
        model = build(x_train.shape[1])
        start = time.perf_counter()
        history = model.fit(
            x_train, y_train, batch_size=128, epochs=args.epochs, validation_split=0.1
        ).history
        seconds = time.perf_counter() - start
        accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0)[1]
        results[name] = (model, history, 100 * (1 - accuracy), seconds)

    print(f"\n{'':10}{'parameters':>12}{'test error':>12}{'training':>12}")
    for name, (model, _, error, seconds) in results.items():
        print(f"{name:10}{model.count_params():>12,}{error:>10.2f} %{seconds:>10.1f} s")

    model, _, error, _ = results["duo"]
    model.save(args.out / "duo.keras")
    again = keras.saving.load_model(args.out / "duo.keras")
    reloaded = 100 * (1 - again.evaluate(x_test, y_test, batch_size=1000, verbose=0)[1])
    print(f"\nSaved, reloaded and evaluated again: {reloaded:.2f} % (before: {error:.2f} %)")
    if reloaded != error:
        raise SystemExit("The reloaded model differs from the saved one.")
    draw(results, x_test, y_test, args.out)
    print(f"Pictures and model: {args.out}")


def baseline(features):
    """The usual pair: relu + CategoricalCrossentropy."""
    layers = [keras.layers.Dense(512, "relu"), keras.layers.Dense(256, "relu")]
    return compiled(features, layers, keras.losses.CategoricalCrossentropy())


def pair(features):
    """The learned pair: LearnableActivation + CategoricalFocal with smoothed labels."""
    layers = [
        keras.layers.Dense(512),
        duo.LearnableActivation("relu", axis=-1),
        keras.layers.Dense(256),
        duo.LearnableActivation("relu", axis=-1),
    ]
    return compiled(features, layers, duo.CategoricalFocal(gamma=0.0, label_smoothing=0.1))


def compiled(features, hidden, loss):
    """The reference network around the hidden layers and the loss of a variant."""
    head = keras.layers.Dense(10, activation="softmax")
    model = keras.Sequential([keras.Input((features,)), *hidden, head])
    model.compile(keras.optimizers.Adam(), loss=loss, metrics=["accuracy"])
    return model


def load(data, folder):
    """Source name, then (images, one-hot labels) for training and for testing."""
    prepared = any(folder.glob("mnist/*/dataset_info.json"))
    if data == "digits" or (data == "auto" and not prepared and not answers(HOST, seconds=3)):
        x, y = load_digits(return_X_y=True)  # 1,797 real 8x8 scans that come with scikit-learn
        x_train, x_test, y_train, y_test = train_test_split(
            x / 16, y, test_size=0.2, random_state=0, stratify=y
        )
        source = "scikit-learn digits (bundled, 8x8)"
    else:
        import tensorflow_datasets as tfds  # slow to import, and only needed here

        options = {"batch_size": -1, "as_supervised": True, "download": not prepared}
        (x_train, y_train), (x_test, y_test) = tfds.as_numpy(
            tfds.load("mnist", split=["train", "test"], data_dir=folder, **options)
        )
        x_train, x_test = (x.reshape(len(x), -1) / 255 for x in (x_train, x_test))
        source = "TFDS mnist (28x28)"
    train, test = (
        (x.astype("float32"), keras.utils.to_categorical(y, 10))
        for x, y in ((x_train, y_train), (x_test, y_test))
    )
    return source, train, test


def answers(url, seconds):
    """Whether a host answers in time; a name look-up without a network can take far longer."""
    found = threading.Event()

    def ask():
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=seconds).close()
            found.set()

    threading.Thread(target=ask, daemon=True).start()
    return found.wait(seconds)


def draw(results, x_test, y_test, folder):
    """Learning curves, learned activations and the confusion matrix, as PNGs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, (_, history, _, _) in results.items():
        epochs = np.arange(1, len(history["loss"]) + 1)
        left.plot(epochs, 100 * (1 - np.array(history["val_accuracy"])), marker="o", label=name)
        right.plot(epochs, history["loss"], marker="o", label=name)
    left.set(xlabel="epoch", ylabel="validation error in %", title="Error")
    right.set(xlabel="epoch", ylabel="training loss (each its own)", title="Loss", yscale="log")
    left.legend()
    right.legend()
    figure.savefig(folder / "learning_curves.png", dpi=120)

    model = results["duo"][0]
    for layer in model.layers:
        if isinstance(layer, duo.LearnableActivation):
            duo.plots.activation_curve(layer).savefig(folder / f"{layer.name}.png", dpi=120)

    predicted = model.predict(x_test, batch_size=1000, verbose=0).argmax(-1)
    matrix = ConfusionMatrixDisplay.from_predictions(y_test.argmax(-1), predicted, colorbar=False)
    matrix.ax_.set_title("Test images")
    matrix.figure_.savefig(folder / "confusion.png", dpi=120)


if __name__ == "__main__":
    main()
