"""What each half of the pair contributes on MNIST: test error over seeds, and step time.

    TFDS_DATA_DIR=... python benchmarks/mnist.py            # errors, 5 seeds, then step times
    python benchmarks/mnist.py --validation                 # errors on the validation split alone

The network, data and budget are those of examples/mnist.py: 784-512-256-10, Adam, batch 128, the
last tenth of the training images held out. The pair was chosen by `--validation`; the test split
was looked at once, for the table in the README. Step times are medians of interleaved runs.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_duo as duo

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import mnist

SMOOTHED = {"gamma": 0.0, "label_smoothing": 0.1}
VARIANTS = {
    "relu + cross-entropy": (None, keras.losses.CategoricalCrossentropy),
    "learned relu + cross-entropy": ("relu", keras.losses.CategoricalCrossentropy),
    "learned gelu + cross-entropy": ("gelu", keras.losses.CategoricalCrossentropy),
    "relu + smoothed": (None, lambda: duo.CategoricalFocal(**SMOOTHED)),
    "fixed gelu + smoothed": ("fixed gelu", lambda: duo.CategoricalFocal(**SMOOTHED)),
    "learned relu + smoothed": ("relu", lambda: duo.CategoricalFocal(**SMOOTHED)),
    "learned gelu + smoothed": ("gelu", lambda: duo.CategoricalFocal(**SMOOTHED)),
    "learned gelu + smoothed focal": (
        "gelu",
        lambda: duo.CategoricalFocal(gamma=1.0, label_smoothing=0.1),
    ),
}


def main():
    """Print the errors, then the step times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=30, help="interleaved rounds of 20 steps")
    parser.add_argument("--validation", action="store_true", help="do not touch the test split")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    parser.add_argument("--data-dir", type=Path, default=data_dir)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    args = parser.parse_args()

    source, (x, y), test = mnist.load(args.data, args.data_dir.expanduser())
    held_out = len(x) // 10
    training = x[:-held_out], y[:-held_out]
    scored = (x[-held_out:], y[-held_out:]) if args.validation else test
    print(f"Data: {source}; error in % on {len(scored[0])} images", flush=True)
    if args.seeds:
        errors(args, training, scored)
    if args.rounds:
        step_times(args, training)


def errors(args, training, scored):
    """Mean, spread and all errors at the end of training."""
    for name in args.only:
        found = []
        for seed in range(args.seeds):
            keras.utils.set_random_seed(seed)
            model = build(name, training[0].shape[1])
            model.fit(*training, batch_size=128, epochs=args.epochs, verbose=0)
            found.append(100 * (1 - model.evaluate(*scored, batch_size=1000, verbose=0)[1]))
        each = " ".join(f"{error:.2f}" for error in found)
        spread = np.std(found, ddof=1) if len(found) > 1 else float("nan")
        print(f"{name:32}{np.mean(found):6.2f} +- {spread:.2f}   ({each})", flush=True)


def step_times(args, training):
    """Median time of a training step as a ratio to the first variant."""
    data = tf.data.Dataset.from_tensor_slices(training).take(20 * 128).batch(128).cache()
    models = {name: build(name, training[0].shape[1]) for name in args.only}
    times = {name: [] for name in models}
    for model in models.values():
        model.fit(data, epochs=2, verbose=0)
    for _ in range(args.rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(data, epochs=1, verbose=0)
            times[name].append(time.perf_counter() - start)
    base = np.median(times[args.only[0]])
    print(f"\nStep time as a ratio to {args.only[0]!r}, median of {args.rounds} rounds")
    for name, found in times.items():
        print(f"{name:32}{np.median(found) / base:6.3f}")


def build(name, features):
    """The reference network with the activation and the loss of a variant."""
    activation, loss = VARIANTS[name]

    def hidden():
        if activation is None:
            return keras.layers.ReLU()
        if activation.startswith("fixed "):
            return keras.layers.Activation(activation.removeprefix("fixed "))
        return duo.LearnableActivation(activation, axis=-1)

    layers = [keras.layers.Dense(512), hidden(), keras.layers.Dense(256), hidden()]
    return mnist.compiled(features, layers, loss())


if __name__ == "__main__":
    main()
