"""Time of a loss and its gradient, beside the same in Keras and beside a copy of y_pred.

    python benchmarks/losses.py                      # every row
    python benchmarks/losses.py --only CategoricalFocal

Each row is a graph that takes the value and the gradient by y_pred of one batch, as a training step
does. Ours, the peer and the copy run in turn, so that what else the machine does meets all three;
the figures are medians, and ratios of medians. The copy is TensorFlow's own, also in a graph: every
time includes the call of a graph. Keep the machine quiet otherwise.
"""

import argparse
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import losses, ops

import keras_duo as duo

RANDOM = np.random.default_rng(0)


def classes(rows, count):
    """One-hot labels and logits."""
    return np.eye(count)[RANDOM.integers(0, count, rows)], 3 * RANDOM.normal(size=(rows, count))


def class_ids(rows, count):
    """Class ids and logits."""
    labels, logits = classes(rows, count)
    return labels.argmax(-1).astype("int32"), logits


def many_labels(rows, count):
    """Labels of which one in ten is positive, and logits."""
    return RANDOM.random((rows, count)) < 0.1, 3 * RANDOM.normal(size=(rows, count))


def masks(images, size, count):
    """Masks of exclusive classes, and their probabilities."""
    labels = np.eye(count)[RANDOM.integers(0, count, (images, size, size))]
    scores = np.exp(RANDOM.normal(size=labels.shape))
    return labels, scores / scores.sum(-1, keepdims=True)


def numbers(rows, count):
    """Numbers, and forecasts of them."""
    return RANDOM.normal(size=(rows, count)), RANDOM.normal(size=(rows, count))


def scores(rows, count):
    """Labels 1 (real) and 0 (fake), and raw scores."""
    return RANDOM.integers(0, 2, (rows, count)), RANDOM.normal(size=(rows, count))


def boxes(images, count):
    """Boxes of some size, and predictions a little beside them."""
    low = RANDOM.random((images, count, 2))
    boxes = np.concatenate([low, low + 0.1 + RANDOM.random((images, count, 2))], axis=-1)
    return boxes, boxes + 0.05 * RANDOM.normal(size=boxes.shape)


def keras_ciou(y_true, y_pred):
    """The loss of `keras.utils.bounding_boxes.compute_ciou`."""
    return 1.0 - keras.utils.bounding_boxes.compute_ciou(y_true, y_pred, "xyxy")


def keras_symmetric(y_true, y_pred):
    """Cross-entropy and reverse cross-entropy, each by Keras' own operations."""
    reverse = -ops.sum(ops.softmax(y_pred) * ops.log(ops.maximum(y_true, math.exp(-4.0))), axis=-1)
    return 0.1 * CCE(y_true, y_pred) + ops.mean(reverse)


LOGITS = {"from_logits": True}
MSE, MAE = losses.MeanSquaredError(), losses.MeanAbsoluteError()
CCE, BCE = losses.CategoricalCrossentropy(**LOGITS), losses.BinaryCrossentropy(**LOGITS)
SCE = losses.SparseCategoricalCrossentropy(**LOGITS)
CATEGORICAL_FOCAL = losses.CategoricalFocalCrossentropy(**LOGITS)
LARGE, LONG = (classes, 16384, 100), (classes, 65536, 10)

# Ours, the peer and what it is called, the data. A peer in brackets does only a part of ours.
ROWS = [
    (duo.CategoricalFocal(**LOGITS), CATEGORICAL_FOCAL, "CategoricalFocalCrossentropy", LARGE),
    (duo.CategoricalFocal(**LOGITS), CATEGORICAL_FOCAL, "CategoricalFocalCrossentropy", LONG),
    (duo.CategoricalFocal(0.0, **LOGITS), CCE, "CategoricalCrossentropy", LARGE),
    (duo.CategoricalFocal(0.0, **LOGITS), CCE, "CategoricalCrossentropy", LONG),
    (
        duo.CategoricalFocal(0.0, label_smoothing=0.1, **LOGITS),
        losses.CategoricalCrossentropy(label_smoothing=0.1, **LOGITS),
        "CategoricalCrossentropy",
        LARGE,
    ),
    (
        duo.SparseCategoricalFocal(**LOGITS),
        SCE,
        "[SparseCategoricalCross.]",
        (class_ids, 16384, 100),
    ),
    (
        duo.SparseCategoricalFocal(**LOGITS),
        SCE,
        "[SparseCategoricalCross.]",
        (class_ids, 65536, 10),
    ),
    (duo.SymmetricCrossEntropy(**LOGITS), keras_symmetric, "the two terms in Keras", LARGE),
    (duo.PolyCrossEntropy(**LOGITS), CCE, "[CategoricalCrossentropy]", LARGE),
    (
        duo.Focal(**LOGITS),
        losses.BinaryFocalCrossentropy(**LOGITS),
        "BinaryFocalCrossentropy",
        (many_labels, 16384, 80),
    ),
    (duo.Focal(0.0, **LOGITS), BCE, "BinaryCrossentropy", (many_labels, 16384, 80)),
    (
        duo.AsymmetricFocal(**LOGITS),
        losses.BinaryFocalCrossentropy(**LOGITS),
        "[BinaryFocalCrossentropy]",
        (many_labels, 16384, 80),
    ),
    (duo.Tversky(), losses.Tversky(), "Tversky", (masks, 16, 128, 4)),
    (duo.Dice(), losses.Dice(), "Dice", (masks, 16, 128, 4)),
    (duo.Quantile(0.5), MAE, "MeanAbsoluteError", (numbers, 65536, 16)),
    (duo.LSGAN(), MSE, "MeanSquaredError", (scores, 65536, 1)),
    (duo.HingeGAN(), losses.Hinge(), "Hinge", (scores, 65536, 1)),
    (duo.NonSaturating(), BCE, "BinaryCrossentropy", (scores, 65536, 1)),
    (duo.CIoU(), keras_ciou, "compute_ciou", (boxes, 64, 1024)),
    (
        duo.MultiObjective([MSE, MAE], [0.7, 0.3]),
        lambda y, p: 0.7 * MSE(y, p) + 0.3 * MAE(y, p),
        "the two in a sum",
        (numbers, 65536, 16),
    ),
]


def main():
    """Print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=60, help="interleaved rounds of one call each"
    )
    parser.add_argument("--only", nargs="*", help="class names of losses")
    args = parser.parse_args()
    print(f"{'loss':24}{'peer':30}{'y_pred':>18}{'ours ms':>9}{'peer/ours':>11}{'ours/copy':>11}")
    for ours, peer, peer_name, (data, *sizes) in ROWS:
        name = type(ours).__name__
        if args.only and name not in args.only:
            continue
        y_true, y_pred = data(*sizes)
        if not np.issubdtype(y_true.dtype, np.integer):
            y_true = y_true.astype("float32")
        y_true, y_pred = tf.constant(y_true), tf.constant(y_pred, "float32")
        runs = [graph(ours), graph(peer), copy]
        ours_ms, peer_ms, copy_ms = medians(runs, (y_true, y_pred), args.rounds)
        name += "(0)" if getattr(ours, "gamma", None) == 0 else ""
        print(
            f"{name:24}{peer_name:30}{tuple(y_pred.shape)!s:>18}{ours_ms:9.2f}"
            f"{peer_ms / ours_ms:11.2f}{ours_ms / copy_ms:11.2f}",
            flush=True,
        )


def graph(loss):
    """Value and gradient by y_pred, traced once."""

    @tf.function(autograph=False)
    def run(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
            value = ops.mean(value) if value.shape.rank else value  # the boxes of compute_ciou
        return value, tape.gradient(value, y_pred)

    return run


@tf.function(autograph=False)
def copy(y_true, y_pred):
    """A copy of y_pred."""
    return tf.raw_ops.DeepCopy(x=y_pred)


def medians(runs, data, rounds):
    """Milliseconds of each run, in interleaved rounds after three for the compiler."""
    times = []
    for _ in range(rounds + 3):
        times.append([])
        for run in runs:
            start = time.perf_counter()
            run(*data)
            times[-1].append(time.perf_counter() - start)
    return 1e3 * np.median(times[3:], axis=0)


if __name__ == "__main__":
    main()
