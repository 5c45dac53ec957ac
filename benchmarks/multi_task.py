"""What each weighting does to two overlapping digits, and what it costs.

    TFDS_DATA_DIR=... python benchmarks/multi_task.py               # accuracy, then step times
    python benchmarks/multi_task.py --seeds 0                       # step times alone

The network and data are those of examples/multi_task.py, with the loss of the right digit scaled by
0.01 and, as a control, not scaled. Accuracies are mean and standard deviation over the seeds, on
the test images, after the last epoch. Step times are medians of interleaved runs, as ratios to
"fixed" with equal weights; "@trunk" takes the gradients at the layer of that name.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import mnist
import multi_task as example

LOSS_LEVEL = ["fixed", "inverse", "uncertainty", "dwa", "famo", "random"]
GRADIENT_LEVEL = ["balanced", "gradnorm", "mgda", "pcgrad", "cagrad", "imtl_g", "aligned_mtl"]
GRADIENT_LEVEL += ["nash", "upgrad"]
NAMES = [*LOSS_LEVEL, *GRADIENT_LEVEL, *(f"{name}@trunk" for name in GRADIENT_LEVEL)]


def main():
    """Print the accuracies, then the step times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.01, 1.0])
    parser.add_argument("--rounds", type=int, default=30, help="interleaved rounds of 10 steps")
    parser.add_argument("--data", choices=["auto", "mnist", "digits"], default="auto")
    data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    parser.add_argument("--data-dir", type=Path, default=data_dir)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    source, train, test = mnist.load(args.data, args.data_dir.expanduser())
    train, test = example.overlapping(*train, 0), example.overlapping(*test, 1)
    print(f"Data: {source}, {len(train[0])} pictures for training, {len(test[0])} for test")
    if args.seeds:
        print(f"{'weighting':20}{'scale':>6}{'left, %':>14}{'right, %':>14}{'mean, %':>14}")
        for scale in args.scales:
            for name in args.only:
                print(
                    f"{name:20}{scale:6g}{accuracies(name, scale, train, test, args)}", flush=True
                )
    if args.rounds:
        print(f"\n{'weighting':20}{'step':>10}{'ratio':>8}")
        names = list(dict.fromkeys(["fixed", *args.only]))
        for name, milliseconds, ratio in step_times(names, train, args.rounds):
            print(f"{name:20}{milliseconds:7.2f} ms{ratio:8.2f}")


def compiled(name, shape):
    """The model of the example under a weighting."""
    weighting, _, layer = name.partition("@")
    options = {"representation": layer} if layer else {}
    return example.compiled(example.network(shape), weighting, **options)


def accuracies(name, scale, train, test, args):
    """Mean and standard deviation over the seeds, as text."""
    rows = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        keras.utils.set_random_seed(seed)
        model = compiled(name, train[0].shape[1:])
        weights = example.scaled(train[1], scale)
        model.fit(*train, sample_weight=weights, batch_size=128, epochs=args.epochs, verbose=0)
        scores = model.evaluate(*test, batch_size=500, verbose=0, return_dict=True)
        left, right = (100 * scores[f"{task}_accuracy"] for task in example.TASKS)
        rows.append([left, right, (left + right) / 2])
        print(f"  {name}, scale {scale:g}, seed {seed}: {left:.2f} {right:.2f}", file=sys.stderr)
    spread = np.std(rows, axis=0, ddof=1) if len(rows) > 1 else np.zeros(3)
    pairs = zip(np.mean(rows, axis=0), spread, strict=True)
    return "".join(f"{mean:8.2f} ± {deviation:.2f}" for mean, deviation in pairs)


def step_times(names, train, rounds):
    """Median milliseconds of a training step, and the ratio to that of the first."""
    parts = (*train, example.scaled(train[1], 0.01))
    batch = keras.tree.map_structure(lambda part: part[:128], parts)
    models = {}
    for name in names:
        keras.utils.set_random_seed(0)
        models[name] = compiled(name, train[0].shape[1:])
        models[name].train_on_batch(*batch)
    times = {name: [] for name in names}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            for _ in range(10):
                model.train_on_batch(*batch)
            times[name].append((time.perf_counter() - start) * 100)
    first = np.median(times[names[0]])
    for name in names:
        yield name, np.median(times[name]), np.median(np.array(times[name])) / first


if __name__ == "__main__":
    main()
