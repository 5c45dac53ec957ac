"""Time of the activations at (8192, 512), forward and backward, as ratios to fixed ones of Keras.

    python benchmarks/activations.py
    python benchmarks/activations.py --jit-compile
    python benchmarks/activations.py --shape 128 512 --only Swish "Swish, axis=-1"

One call computes the value, and from a given gradient of it the gradients of the input and of every
parameter, in a graph of float32: without XLA, which is how `fit` runs on a CPU, or with it, as it
does after `compile(jit_compile=True)`. The rounds are interleaved in an order drawn anew for each;
the figures are medians. "its products alone" are those of matrices in `DynamicReLU`, forward and
backward, with nothing between them: less is not to be had.
"""

import argparse
import random
import time

import keras
import numpy as np
import tensorflow as tf

import keras_duo as duo

FIXED = {
    "relu": lambda: keras.layers.Activation("relu"),
    "silu": lambda: keras.layers.Activation("silu"),
    "gelu": lambda: keras.layers.Activation("gelu"),
    "PReLU": keras.layers.PReLU,
}
LEARNED = {
    "LearnableActivation": duo.LearnableActivation,
    "LearnableActivation, axis=-1": lambda: duo.LearnableActivation(axis=-1),
    "Swish": duo.Swish,
    "Swish, axis=-1": lambda: duo.Swish(axis=-1),
    "Acon, axis=None": lambda: duo.Acon(axis=None),
    "Acon": duo.Acon,
    "MetaAcon": duo.MetaAcon,
    "Rational": duo.Rational,
    "Rational, axis=-1": lambda: duo.Rational(axis=-1),
    "Snake": duo.Snake,
    "Snake, axis=-1": lambda: duo.Snake(axis=-1),
    "DynamicReLU": duo.DynamicReLU,
    "AttentionActivation": duo.AttentionActivation,
}


def main():
    """Time them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs="+", default=[8192, 512])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--jit-compile", action="store_true", help="all of a call by XLA")
    parser.add_argument("--only", nargs="*", choices=LEARNED, default=list(LEARNED))
    args = parser.parse_args()

    keras.utils.set_random_seed(0)
    x, upstream = tf.random.normal(args.shape), tf.random.normal(args.shape)
    makers = FIXED | {name: LEARNED[name] for name in args.only}
    steps = {name: step(make(), x, args.jit_compile) for name, make in makers.items()}
    if "DynamicReLU" in steps and len(args.shape) == 2:
        steps["its products alone"] = products(duo.DynamicReLU(), x, args.jit_compile)
    times = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name in random.sample(list(steps), len(steps)):
            steps[name](x, upstream)  # the caches and the heap are now its own
            start = time.perf_counter()
            steps[name](x, upstream)
            times[name].append(time.perf_counter() - start)

    medians = {name: np.median(found) for name, found in times.items()}
    print(f"{'':30}{'ms':>8}" + "".join(f"{name:>8}" for name in FIXED))
    for name, median in medians.items():
        ratios = "".join(f"{median / medians[base]:8.2f}" for base in FIXED)
        print(f"{name:30}{1000 * median:8.2f}{ratios}")


def step(layer, x, jit_compile):
    """Value and gradients of a layer as one graph for any batch size."""
    layer.build(x.shape)
    variables = [variable.value for variable in layer.trainable_variables]

    signature = [tf.TensorSpec([None, *x.shape[1:]])] * 2

    @tf.function(input_signature=signature, autograph=False, jit_compile=jit_compile)
    def run(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = layer(x, training=True)
        # All of it is an output, or the graph is pruned to what is.
        return value, tape.gradient(value, [x, *variables], output_gradients=upstream)

    return run


def products(layer, x, jit_compile):
    """The products of matrices in the step of a DynamicReLU, one for each use of its kernels."""
    layer.build(x.shape)
    first, last = layer.hidden_kernel.value, tf.unstack(layer.coefficient_kernel.value)
    slopes = [tf.random.normal(x.shape) for _ in last]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run(x, upstream):
        hidden = x @ first
        forward = [hidden @ kernel for kernel in last]
        by_kernel = [tf.matmul(hidden, slope, transpose_a=True) for slope in slopes]
        by_hidden = [
            tf.matmul(slope, kernel, transpose_b=True)
            for slope, kernel in zip(slopes, last, strict=True)
        ]
        total = tf.add_n(by_hidden)
        by_first = tf.matmul(x, total, transpose_a=True)
        return forward, by_kernel, by_first, tf.matmul(total, first, transpose_b=True)

    return run


if __name__ == "__main__":
    main()
