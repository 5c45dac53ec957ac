"""Time of a TransformerBlock beside its peers, and beside a matrix product.

    python benchmarks/transformer.py                 # training step, with what is installed
    python benchmarks/transformer.py --forward
    python benchmarks/transformer.py --options       # each option beside the plain block

A training step is the outputs, and the gradients of the weights and of the inputs. Peers are the
same block from Keras' MultiHeadAttention, LayerNormalization and Dense, and, where they are
installed (`pip install keras-hub torch`), KerasHub's TransformerEncoder and torch's
TransformerEncoderLayer. All run in turn, so that what else the machine does meets all of them; the
figures are medians, and ratios of medians. The share of the peak is the rate of the block's matrix
products, were they all that it does, to that of one product of two square matrices in TensorFlow,
in the same rounds. Keep the machine quiet otherwise.
"""

import argparse
import importlib.util
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from keras import layers

import keras_duo as duo

SQUARE = 2048
OPTIONS = [
    {"norm_first": True},
    {"normalization": "rms"},
    {"use_causal_mask": True},
    {"num_kv_heads": 2},
    {"rotary": True},
    {"qk_norm": True},
    {"gated": True},
    {"dropout": 0.1},
    {"attention_dropout": 0.1},
    {"drop_path": 0.1},
    {"use_bias": False},
    {"layer_scale": 0.1},
    {"activation": "gelu"},
    {"activation": "silu"},
]


def main():
    """Print one line a block."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--embed-dim", type=int, default=256)
    parser.add_argument("--num-heads", type=int, default=8)
    parser.add_argument("--ff-dim", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--forward", action="store_true", help="the outputs alone")
    parser.add_argument("--options", action="store_true", help="our options, and no peers")
    args = parser.parse_args()

    x = np.random.default_rng(0).normal(size=(args.batch, args.length, args.embed_dim))
    x = x.astype("float32")
    sizes = (args.embed_dim, args.num_heads, args.ff_dim)
    runs = {"TransformerBlock": graph(duo.TransformerBlock(*sizes), x, args.forward)}
    if args.options:
        for options in OPTIONS:
            name = ", ".join(f"{key}={value}" for key, value in options.items())
            runs[name] = graph(duo.TransformerBlock(*sizes, **options), x, args.forward)
    else:
        runs["Keras layers"] = graph(KerasBlock(*sizes), x, args.forward)
        if importlib.util.find_spec("keras_hub"):
            import keras_hub

            hub = keras_hub.layers.TransformerEncoder(args.ff_dim, args.num_heads)
            runs["KerasHub TransformerEncoder"] = graph(hub, x, args.forward)
        if importlib.util.find_spec("torch"):
            runs["torch TransformerEncoderLayer"] = torch_run(*sizes, x, args.forward)
    square = tf.random.normal((SQUARE, SQUARE))
    product = tf.function(lambda: tf.matmul(square, square), autograph=False)
    times = medians([product, *runs.values()], args.rounds)

    peak = 2 * SQUARE**3 / times[0]
    work = products(args) * (1 if args.forward else 3)
    print(f"{'one matrix product':32}{1e3 * times[0]:9.1f} ms{peak / 1e9:9.0f} GFLOP/s")
    print(f"{'':32}{'time':>12}{'/ ours':>9}{'of the peak':>13}")
    for name, seconds in zip(runs, times[1:], strict=True):
        share = f"{100 * work / seconds / peak:11.0f} %"
        print(f"{name:32}{1e3 * seconds:9.1f} ms{seconds / times[1]:9.2f}{share:>13}")


class KerasBlock(layers.Layer):
    """The block from layers of Keras."""

    def __init__(self, embed_dim, num_heads, ff_dim):
        super().__init__()
        self.attention = layers.MultiHeadAttention(num_heads, embed_dim // num_heads)
        self.expand, self.contract = layers.Dense(ff_dim, "relu"), layers.Dense(embed_dim)
        self.norms = [layers.LayerNormalization(epsilon=1e-5) for _ in range(2)]

    def call(self, x):
        """The outputs."""
        x = self.norms[0](x + self.attention(x, x))
        return self.norms[1](x + self.contract(self.expand(x)))


def graph(layer, x, forward):
    """A step of a Keras layer, traced once."""
    x = tf.constant(x)
    layer(x)

    @tf.function(autograph=False)
    def run():
        if forward:
            return layer(x, training=False)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = layer(x, training=True)
        return tape.gradient(value, [x, *layer.trainable_variables], output_gradients=x)

    return run


def torch_run(embed_dim, num_heads, ff_dim, x, forward):
    """A step of torch's layer, on as many threads as TensorFlow has."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    layer = torch.nn.TransformerEncoderLayer(
        embed_dim, num_heads, ff_dim, dropout=0.0, batch_first=True
    )
    x = torch.tensor(x, requires_grad=not forward)
    if forward:
        layer.eval()

    def run():
        if forward:
            with torch.inference_mode():
                return layer(x)
        x.grad = None
        layer.zero_grad()
        layer(x).backward(x.detach())
        return None

    return run


def products(args):
    """Floating point operations of the matrix products of one forward pass."""
    rows = args.batch * args.length
    maps = args.embed_dim * (4 * args.embed_dim + 2 * args.ff_dim)
    return 2 * rows * (maps + 2 * args.length * args.embed_dim)


def medians(runs, rounds):
    """Seconds of each run, in interleaved rounds after three for the compiler."""
    times = []
    for _ in range(rounds + 3):
        times.append([])
        for run in runs:
            time.sleep(0.02)  # for the threads of the run before, which wait in a loop for a while
            start = time.perf_counter()
            run()
            times[-1].append(time.perf_counter() - start)
    return np.median(times[3:], axis=0)


if __name__ == "__main__":
    main()
