"""How AttentionActivation was chosen: the alternatives, what they reach, and what they cost.

    TFDS_DATA_DIR=... python benchmarks/attention_activation.py              # all but the test
    TFDS_DATA_DIR=... python benchmarks/attention_activation.py --parts test

Network 784-32-32-10, Adam, batch 128, 4 epochs; accuracy in %, cross-entropy, parameters. The
choice was made on the last tenth of the training images. The part `test` trains on all of them,
with seeds of its own, and scores on the test split. Step times are those of a block of Dense(512)
and an activation at batch 128: forward, backward to the input, Adam. They and the times of the
activation alone, forward and backward at (8192, 512), are medians of interleaved runs.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import keras_duo as duo

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import mnist


def _soft_threshold(x, t):
    return ops.relu(x - ops.tanh(t) * ops.mean(ops.abs(x), -1, keepdims=True))


# The coefficients of each unit, as they are at the start, and what is made of them.
FORMS = {
    "threshold": ((0,), lambda x, t: ops.relu(x - t)),
    "threshold in mean |x|": ((0,), _soft_threshold),
    "slope": ((1,), lambda x, s: s * ops.relu(x)),
    "slope, threshold": ((1, 0), lambda x, s, t: s * ops.relu(x - t)),
    "two slopes": ((1, 0), lambda x, s, n: duo.attention_activation(x, 0.0, s, n)),
    "two slopes, threshold": ((0, 1, 0), duo.attention_activation),
    "two pieces": (
        (1, 0, 0, 0),
        lambda x, a, b, c, d: duo.dynamic_relu(x, (a, b), (c, d)),
    ),
}


class Candidate(keras.layers.Layer):
    """A form, and how its coefficients come from the input."""

    def __init__(self, form, network, hidden=16, heads=4):
        super().__init__()
        self.start, self.form = FORMS[form]
        self.network, self.hidden, self.heads = network, hidden, heads

    def build(self, input_shape):
        """Both layers of the small network; the last is zero."""
        channels = input_shape[-1]
        first = "random_normal" if self.network == "units" else "glorot_uniform"
        self.key = self.add_weight((channels, self.hidden), first)
        self.value = self.add_weight((len(self.start), self.hidden, channels), "zeros")

    def call(self, x):
        """The form with its coefficients."""
        if self.network == "units":  # a softmax over the units for each reference level
            scores = ops.expand_dims(x, 1) * ops.transpose(self.key)
            hidden = ops.sum(ops.softmax(scores) * ops.expand_dims(x, 1), axis=-1)
        elif self.network == "relu":  # squeeze and excitation
            hidden = ops.relu(ops.matmul(x, self.key))
        else:  # attention to learned slots
            scores = ops.reshape(
                ops.matmul(x, self.key), (-1, self.heads, self.hidden // self.heads)
            )
            hidden = ops.reshape(ops.softmax(scores), (-1, self.hidden))
        changes = [ops.matmul(hidden, value) for value in ops.unstack(self.value)]
        return self.form(x, *(c + s if s else c for c, s in zip(changes, self.start, strict=True)))


def attention(form, heads=4, slots=4):
    """Coefficients from attention to slots."""
    return lambda: Candidate(form, "attention", heads * slots, heads)


WIDER = "relu, 37 units"  # as many parameters as with the chosen form
CHOSEN = "AttentionActivation()"
VARIANTS = {
    "relu": keras.layers.ReLU,
    WIDER: keras.layers.ReLU,
    "gelu": lambda: keras.layers.Activation("gelu"),
    "DynamicReLU(8)": duo.DynamicReLU,
    "DynamicReLU(2)": lambda: duo.DynamicReLU(2),
    **{f"{form}; 4 x 4": attention(form) for form in FORMS if form != "two slopes, threshold"},
    CHOSEN: duo.AttentionActivation,  # two slopes, threshold; 4 x 4
    "two slopes, threshold; 1 x 16": attention("two slopes, threshold", 1, 16),
    "two slopes, threshold; 2 x 8": attention("two slopes, threshold", 2, 8),
    "two slopes, threshold; 8 x 2": attention("two slopes, threshold", 8, 2),
    "two slopes, threshold; 4 x 8": attention("two slopes, threshold", 4, 8),
    "two pieces; 4 x 8": attention("two pieces", 4, 8),
    "slope, threshold; 4 x 8": attention("slope, threshold", 4, 8),
    "two slopes, threshold; relu 16": lambda: Candidate("two slopes, threshold", "relu"),
    "two pieces; relu 16": lambda: Candidate("two pieces", "relu"),
    "threshold; 4 levels over units": lambda: Candidate("threshold", "units", 4),
}
CONFIRMED = ("relu", WIDER, "gelu", "DynamicReLU(8)", CHOSEN)
CONTEXTS = {
    "relu": keras.layers.ReLU,
    "DynamicReLU(8), mean": duo.DynamicReLU,
    "DynamicReLU(8), position": lambda: duo.DynamicReLU(context="position"),
    "AttentionActivation, mean": lambda: duo.AttentionActivation(context="mean"),
    "AttentionActivation, position": duo.AttentionActivation,
}


def main():
    """Print the table, then the times, then what images gain from each context."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=40, help="interleaved rounds of timing")
    parts = ["alternatives", "times", "images", "test"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts[:3])
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    parser.add_argument("--data-dir", type=Path, default=data_dir)
    args = parser.parse_args()

    source, (x, y), test = mnist.load(args.data, args.data_dir.expanduser())
    held_out = len(x) // 10
    validation = (x[:-held_out], y[:-held_out]), (x[-held_out:], y[-held_out:])
    print(f"Data: {source}", flush=True)
    for part in args.parts:
        print(f"\n{part}")
        if part == "alternatives":
            for name in args.only:
                report(name, dense, VARIANTS[name], validation, range(args.seeds), args.epochs)
        elif part == "times":
            times(
                ["relu", *(name for name in args.only if name not in ("relu", WIDER))], args.rounds
            )
        elif part == "images":
            for name, make in CONTEXTS.items():
                report(name, convolutional, make, validation, range(args.seeds), args.epochs)
        else:
            seeds = range(100, 100 + args.seeds)
            for name in (name for name in args.only if name in CONFIRMED):
                report(name, dense, VARIANTS[name], ((x, y), test), seeds, args.epochs)


def report(name, build, activation, data, seeds, epochs):
    """Accuracy in % and cross-entropy: mean and standard deviation over seeds."""
    training, scored = data
    found = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model = build(activation, training[0].shape[1], 37 if name == WIDER else 32)
        model.fit(*training, batch_size=128, epochs=epochs, verbose=0)
        found.append(model.evaluate(*scored, batch_size=1000, verbose=0)[:2])
    loss, accuracy = np.array(found).T
    ddof = min(1, len(found) - 1)
    print(
        f"{name:34}{100 * accuracy.mean():6.2f} +- {100 * accuracy.std(ddof=ddof):.2f}"
        f"{loss.mean():8.4f} +- {loss.std(ddof=ddof):.4f}{model.count_params():8,}",
        flush=True,
    )


def dense(activation, features, units):
    """The network of the table."""
    hidden = [
        keras.layers.Dense(units),
        activation(),
        keras.layers.Dense(units),
        activation(),
    ]
    return mnist.compiled(features, hidden, keras.losses.CategoricalCrossentropy())


def convolutional(activation, features, units):
    """A small network whose activations have positions: (batch, height, width, channels)."""
    side = int(features**0.5)
    hidden = [
        keras.layers.Reshape((side, side, 1)),
        keras.layers.Conv2D(units // 4, 3, strides=2),
        activation(),
        keras.layers.Conv2D(units // 2, 3, strides=2),
        activation(),
        keras.layers.GlobalAveragePooling2D(),
    ]
    model = mnist.compiled(features, hidden, keras.losses.CategoricalCrossentropy())
    model.optimizer.learning_rate = 3e-3  # so small a network learns slowly
    return model


def times(names, rounds):
    """Ratios of the step of a block to that with relu, and of the activation alone to PReLU."""
    tf.get_logger().setLevel("ERROR")  # a function traced once for each variant is no retracing
    steps = median({name: step(VARIANTS[name]()) for name in names}, rounds, inner=5)
    makers = {"PReLU": keras.layers.PReLU, **{name: VARIANTS[name] for name in names}}
    alone = median({name: pass_through(make()) for name, make in makers.items()}, rounds // 4)
    print(f"{'':34}{'step / relu':>12}{'alone / PReLU':>15}")
    for name in names:
        print(f"{name:34}{steps[name] / steps['relu']:12.2f}{alone[name] / alone['PReLU']:15.2f}")


def step(activation, width=512, batch=128):
    """A training step of Dense(width) and the activation."""
    block = keras.Sequential([keras.Input((width,)), keras.layers.Dense(width), activation])
    optimizer = keras.optimizers.Adam()
    optimizer.build(block.trainable_variables)
    x, upstream = tf.random.normal((2, batch, width))

    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = block(x, training=True)
        slopes = tape.gradient(y, [x, *block.trainable_variables], output_gradients=upstream)
        optimizer.apply(slopes[1:], block.trainable_variables)
        return slopes[0]

    return run


def pass_through(activation, shape=(8192, 512)):
    """Forward and backward of the activation alone."""
    x, upstream = tf.random.normal((2, *shape))
    activation.build(shape)

    @tf.function(autograph=False)
    def run():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activation(x)
        return tape.gradient(y, [x, *activation.trainable_variables], output_gradients=upstream)

    return run


def median(runs, rounds, inner=1):
    """The median time of each, all taking turns."""
    found = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(inner):
                run()
            found[name].append(time.perf_counter() - start)
    return {name: np.median(each) for name, each in found.items()}


if __name__ == "__main__":
    main()
