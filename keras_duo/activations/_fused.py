"""The fast path: an activation with parameters and its gradient as one XLA cluster each.

Op by op, a learned scale takes a pass over memory to multiply, another for its gradient, a third to
sum that. In clusters there is one pass forward, one back, and one for each sum.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_duo._clusters import cluster, has_cpus_only, in_graph, sum_over

# Below this many numbers, a cluster saves too little to make up for its launch and compilation.
LARGE = 2**18


def fused(function: Callable, training: bool | None) -> Callable:
    """`function(x, *parameters)`, with two clusters in its place in a training step on CPUs.

    `function` is elementwise in `x`, to which the parameters broadcast. Outside of training it
    stays as it is, so that a graph which is exported holds TensorFlow's own operations alone.
    """
    if not (training and in_graph() and has_cpus_only()):
        return function
    import tensorflow as tf

    def by_size(x: Any, compiled: Callable, op_by_op: Callable, *tensors: Any) -> Any:
        size = x.shape.num_elements()
        # Each branch is one call: TensorFlow fails to differentiate one that holds the custom
        # gradients of `function`.
        branches = (
            lambda: cluster(compiled)(*tensors),
            lambda: tf.function(op_by_op, autograph=False)(*tensors),
        )
        if size is not None:
            return branches[size < LARGE]()
        return tf.cond(tf.size(x) >= LARGE, *branches)

    @tf.custom_gradient
    def differentiated(x: Any, *parameters: Any) -> tuple[Any, Callable]:
        def gradient(upstream: Any) -> Any:
            tensors = (upstream, x, *parameters)
            return by_size(x, _slopes_by_rows(function), _slopes(function), *tensors)

        return by_size(x, function, function, x, *parameters), gradient

    # What Keras calls the tensor of a variable can be the variable, which TensorFlow refuses here.
    return lambda *tensors: differentiated(*map(tf.convert_to_tensor, tensors))


def _slopes(function: Callable) -> Callable:
    """(upstream, x, *parameters) -> the gradient for each of them but the first."""
    import tensorflow as tf

    def slopes(upstream: Any, *tensors: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(value, list(tensors), upstream, unconnected_gradients=zero)

    return slopes


def _slopes_by_rows(function: Callable) -> Callable:
    """The same, with the sums that broadcasting asks for as XLA on a CPU takes them best."""
    import tensorflow as tf

    def slopes(upstream: Any, x: Any, *parameters: Any) -> list[Any]:
        def is_narrow(parameter: Any) -> bool:
            return len(parameter.shape) < 2 <= len(x.shape)

        full = [tf.broadcast_to(p, tf.shape(x)) if is_narrow(p) else p for p in parameters]
        by_x, *others = _slopes(function)(upstream, x, *full)
        sums = [
            _sum_of_rows(other, len(p.shape)) if is_narrow(p) else other
            for other, p in zip(others, parameters, strict=True)
        ]
        return [by_x, *sums]

    return slopes


def _sum_of_rows(x: Any, rank: int) -> Any:
    """The sum of `x` over all axes, or with `rank` 1 over all but the last."""
    rows = ops.reshape(x, (-1, ops.shape(x)[-1]))
    return ops.sum(rows, axis=0) if rank == 1 else ops.sum(sum_over(rows, 1))
