"""What ActivationMonitor sees in healthy and in sick networks, and what it costs.

    TFDS_DATA_DIR=... python benchmarks/monitor.py                  # the table, then the cost
    TFDS_DATA_DIR=... python benchmarks/monitor.py --epochs 30 --only tanh

Networks on the first 54,000 images of MNIST, Adam at its default unless the name says otherwise,
batch 128, a probe of 512 training images. A row: accuracy on the training images, the largest dead
and saturated share of a hidden layer, the gradient ratio, and what `summary()` says. The cost is
that of the reference network 784-512-256-10, as medians of interleaved epochs.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_duo as duo

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import mnist


def main():
    """Print the table, then the cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds for the cost")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    parser.add_argument("--data-dir", type=Path, default=data_dir)
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    args = parser.parse_args()

    source, (x, y), _ = mnist.load(args.data, args.data_dir.expanduser())
    x, y = x[: len(x) * 9 // 10], y[: len(x) * 9 // 10]
    print(f"Data: {source}")
    for name in args.only:
        row(name, x, y, args.epochs)
    if args.rounds:
        cost(x, y, args.rounds)


def row(name, x, y, epochs):
    """One network: what the monitor says at the end of training."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[name](x.shape[1])
    monitor = duo.ActivationMonitor(x[:512], y[:512], verbose=False)
    history = model.fit(x, y, batch_size=128, epochs=epochs, verbose=0, callbacks=[monitor]).history
    last = {key: values[-1] for key, values in history.items()}
    output = model.layers[-1].name
    dead, saturated = (
        max(v for k, v in last.items() if k.startswith(kind) and not k.endswith(f"/{output}"))
        for kind in ("dead/", "saturated/")
    )
    said = "; ".join(message.partition(":")[0] for message in monitor.summary()) or "nothing"
    print(
        f"| {name} | {100 * last['accuracy']:.1f} | {100 * dead:.0f} | {100 * saturated:.0f} "
        f"| {last['gradient_ratio']:.2g} | {said} |",
        flush=True,
    )


def cost(x, y, rounds):
    """Seconds of an epoch with and without the monitor, of one measurement, and of the first."""
    seconds = {"plain": [], "watched": []}
    model = dense("relu", widths=(512, 256))(x.shape[1])
    monitor = duo.ActivationMonitor(x[:512], y[:512], verbose=False)

    class Clock(keras.callbacks.Callback):
        def __init__(self, kind):
            super().__init__()
            self.seconds = seconds[kind]

        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            if epoch:  # in the first one of each `fit`, functions are traced
                self.seconds.append(time.perf_counter() - self.start)

    for _ in range(rounds):
        for callbacks in ([Clock("plain")], [monitor, Clock("watched")]):
            model.fit(x, y, batch_size=128, epochs=2, verbose=0, callbacks=callbacks)
    monitor.on_train_begin()
    measured = []
    for epoch in range(20):
        start = time.perf_counter()
        monitor.on_epoch_end(epoch)
        measured.append(time.perf_counter() - start)
    plain, watched, one = (np.median(s) for s in (*seconds.values(), measured[1:]))
    print(
        f"Epoch {plain:.2f} s, watched {watched:.2f} s (x {watched / plain:.3f}); one measurement "
        f"{1e3 * one:.1f} ms, {100 * one / plain:.2f} % of an epoch; the first {measured[0]:.2f} s"
    )


def compiled(hidden, features, optimizer=keras.optimizers.Adam, rate=1e-3):
    """A classifier of ten digits around the hidden layers."""
    head = layers.Dense(10, "softmax")
    model = keras.Sequential([keras.Input((features,)), *hidden, head])
    model.compile(optimizer(rate), "categorical_crossentropy", metrics=["accuracy"])
    return model


def dense(activation, widths=(256, 256), scale=1.0, bias=0.0, stddev=None, **training):
    """Dense layers of one activation; `stddev` for normal kernels in place of Keras' own."""

    def build(features):
        hidden = [layers.Rescaling(scale)] if scale != 1 else []
        for width in widths:
            kernel = (
                "glorot_uniform" if stddev is None else keras.initializers.RandomNormal(0.0, stddev)
            )
            if stddev is None and activation == "relu":
                kernel = "he_normal"
            start = keras.initializers.Constant(bias)
            hidden.append(layers.Dense(width, activation, True, kernel, start))
        return compiled(hidden, features, **training)

    return build


def convolutional(features):
    """Two strided convolutions and a dense layer, relu."""
    side = int(features**0.5)
    convolutions = [layers.Conv2D(n, 3, strides=2, activation="relu") for n in (16, 32)]
    first, last = layers.Reshape((side, side, 1)), layers.Dense(64, "relu")
    return compiled([first, *convolutions, layers.Flatten(), last, layers.Dropout(0.3)], features)


def recurrent(features):
    """An LSTM over the rows of the image."""
    side = int(features**0.5)
    return compiled([layers.Reshape((side, side)), layers.LSTM(64)], features)


EIGHT, TWENTY = (64,) * 8, (64,) * 20
NETWORKS = {
    "relu": dense("relu"),
    "relu, 16 wide": dense("relu", widths=(16, 16)),
    "relu, 8 layers": dense("relu", widths=EIGHT),
    "relu, convolutional": convolutional,
    "gelu": dense("gelu"),
    "tanh": dense("tanh"),
    "tanh, 8 layers": dense("tanh", widths=EIGHT),
    "sigmoid": dense("sigmoid"),
    "LSTM": recurrent,
    "relu, Adam(0.01)": dense("relu", rate=0.01),
    "relu, Adam(0.1)": dense("relu", rate=0.1),
    "relu, SGD(10)": dense("relu", optimizer=keras.optimizers.SGD, rate=10.0),
    "relu, biases of -10": dense("relu", bias=-10.0),
    "gelu, Adam(0.1)": dense("gelu", rate=0.1),
    "tanh, kernels N(0, 1)": dense("tanh", stddev=1.0),
    "tanh, images of 0 to 255": dense("tanh", scale=255.0),
    "sigmoid, images of 0 to 255": dense("sigmoid", scale=255.0),
    "tanh, 20 layers, kernels N(0, 0.05)": dense("tanh", widths=TWENTY, stddev=0.05),
    "relu, 12 layers, kernels N(0, 1)": dense("relu", widths=(64,) * 12, stddev=1.0),
    "relu, SGD(1e9)": dense("relu", optimizer=keras.optimizers.SGD, rate=1e9),
}


if __name__ == "__main__":
    main()
