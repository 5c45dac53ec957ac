"""The language model of examples/transformer.py beside the plain block, in the same run.

    TFDS_DATA_DIR=<folder> python benchmarks/language_model.py --out curves

Both see the same number of steps and characters, with about the same number of parameters. The
plain model is that of GPT-2 and nanoGPT: learned positions, layer normalization, gelu, AdamW with
warm-up. They take turns of 100 steps, so that what else the machine does meets both; seconds are
those of training, without validation. Prints the loss on all of the validation text, and draws it
against steps and seconds.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib
import numpy as np
from keras import layers

import keras_duo as duo

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import transformer


def main():
    """Train both in turns, print and draw their curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="of 100 steps each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=["auto", "shakespeare", "manual"], default="auto")
    parser.add_argument(
        "--data-dir", default=os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    )
    parser.add_argument("--out", type=Path, default=Path("out/language_model"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    source, text = transformer.load(args.data, Path(args.data_dir).expanduser())
    alphabet, (x_train, y_train), test = transformer.split(text)
    # Drawn here: a new call of `fit` would shuffle by the same seed, and show the same rows again.
    order = np.random.default_rng(args.seed).permutation(len(x_train))
    order = order[: args.epochs * transformer.STEPS * transformer.BATCH].reshape(args.epochs, -1)
    models = {}
    for name, build in (("the example", transformer.language_model), ("plain block", plain)):
        keras.utils.set_random_seed(args.seed)
        models[name] = build(len(alphabet), args.epochs * transformer.STEPS)
    for name, model in models.items():
        print(f"{name}: {model.count_params():,} parameters; {source}")
    print(f"{'steps':>8}" + "".join(f"{name:>16}{'s':>6}" for name in models), flush=True)
    curves = {name: [] for name in models}
    for epoch in range(args.epochs):
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(
                x_train[order[epoch]],
                y_train[order[epoch]],
                batch_size=transformer.BATCH,
                shuffle=False,
                verbose=0,
            )
            seconds = time.perf_counter() - start + (curves[name][-1][1] if epoch else 0)
            curves[name].append((model.evaluate(*test, batch_size=100, verbose=0), seconds))
        figures = (f"{c[-1][0]:16.3f}{c[-1][1]:6.0f}" for c in curves.values())
        print(f"{(epoch + 1) * transformer.STEPS:8}" + "".join(figures), flush=True)
    draw(curves, args.out / "curves.png")


def plain(vocabulary, steps):
    """The model of GPT-2 in the same size."""
    entry = keras.Input((None,), dtype="int32")
    x = layers.Embedding(vocabulary, transformer.WIDTH)(entry)
    x = duo.PositionalEmbedding(transformer.CONTEXT)(x)
    for _ in range(transformer.BLOCKS):
        x = duo.TransformerBlock(
            transformer.WIDTH,
            transformer.HEADS,
            4 * transformer.WIDTH,
            activation="gelu",
            norm_first=True,
            use_causal_mask=True,
        )(x)
    x = layers.LayerNormalization()(x)
    model = keras.Model(entry, layers.Dense(vocabulary)(x))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.1, warmup_target=1e-3, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.1, beta_2=0.99),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def draw(curves, path):
    """Validation loss against steps and against seconds."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for name, points in curves.items():
        losses, seconds = zip(*points, strict=True)
        steps = [transformer.STEPS * (i + 1) for i in range(len(points))]
        for axis, x in zip(axes, (steps, seconds), strict=True):
            axis.plot(x, losses, marker="o", label=f"{name}: {losses[-1]:.3f}")
    axes[0].set(xlabel="steps", ylabel="validation loss in nats per character")
    axes[1].set(xlabel="seconds of training")
    axes[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
