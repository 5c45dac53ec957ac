"""The training step of the methods that look at the gradient of each task, for TensorFlow."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_duo.weightings._gramian import gramian


def combined_gradients(
    losses: Callable[[], tuple[list, Any, Any, Any]],
    variables: list,
    scale: Callable[[Any], Any],
    weigh: Callable[[Any, Any], Any],
) -> tuple[list, Any, Any, Any, Any]:
    """The gradient of every variable: its own where one task has it, else the weighted sum.

    Args:
        losses: The forward pass; returns the scalar loss of each task, further losses or None, the
            shared representation or None, and the outputs.
        variables: To be trained.
        scale: The loss scaling of the optimizer.
        weigh: The weights of the tasks, from their losses and the Gramian of their gradients.

    Returns:
        Scaled gradients in the order of the variables, the losses over all replicas, the weights,
        the further losses and the outputs.
    """
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        values, further, representation, outputs = losses()
        scaled = [scale(value) for value in values]
        scaled_further = None if further is None else scale(further)

    # What is not asked for again is no part of the compiled graph, although it stands here.
    rows = [tape.gradient(loss, variables) for loss in scaled]
    owners = [sum(row[i] is not None for row in rows) for i in range(len(variables))]
    shared = [i for i, count in enumerate(owners) if count > 1]
    if not shared:
        raise ValueError(
            "`weighting` must not be a method of gradients where no trainable variable is reached "
            f"by more than one task. Received: {len(variables)} variables of one task each"
        )
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if representation is None:
        tensors = [[None if row[i] is None else dense(row[i]) for i in shared] for row in rows]
        if replicas > 1:
            # Products of gradients over all replicas are not the sums of products.
            tensors = [[None if t is None else _sum(t) for t in row] for row in tensors]
        products = gramian(tensors)
    else:
        at_representation = tf.nest.flatten(representation)
        tensors = [tape.gradient(loss, at_representation) for loss in scaled]
        products = _sum(gramian(tensors)) if replicas > 1 else gramian(tensors)

    totals = ops.stack(values)
    totals = _sum(totals) if replicas > 1 else totals
    factor = ops.cast(scale(ops.convert_to_tensor(1.0)), "float32")
    # Sums over the replicas are gradients of the mean loss: each loss is divided by their number.
    weights = weigh(totals, products / factor / factor)
    chosen = ops.unstack(weights, len(values))
    if representation is not None:
        pulls = [tf.cast(w, loss.dtype) for w, loss in zip(chosen, scaled, strict=True)]
        sums = tape.gradient(scaled, [variables[i] for i in shared], output_gradients=pulls)
    else:
        # The optimizer adds the replicas up, and they all hold the same sum.
        sums = [
            sum(w * t for w, t in zip(chosen, column, strict=True) if t is not None) / replicas
            for column in zip(*tensors, strict=True)
        ]
    found = dict(zip(shared, sums, strict=True))
    gradients = [
        found.get(i, next((row[i] for row in rows if row[i] is not None), None))
        for i in range(len(variables))
    ]
    if scaled_further is not None:
        extra = tape.gradient(scaled_further, variables)
        gradients = [_added(a, b) for a, b in zip(gradients, extra, strict=True)]
    return gradients, totals, weights, further, outputs


def dense(gradient: Any) -> Any:
    """The gradient of an embedding as the tensor that it stands for."""
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def _sum(tensor: Any) -> Any:
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def _added(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return second if first is None else first
    return dense(first) + dense(second)


def tapped(model: keras.Model, layer: Any) -> keras.Model:
    """The same Functional model, whose outputs are those of one of its layers and its own."""
    found = None
    if getattr(model, "inputs", None) and getattr(model, "output", None) is not None:
        names = {one.name: one for one in model.layers}
        wanted = layer.name if isinstance(layer, keras.layers.Layer) else layer
        found = names.get(wanted) if isinstance(wanted, str) else None
    if found is None:
        raise ValueError(
            "`representation` must name a layer of a Functional model. "
            f"Received: representation={layer!r}"
        )
    return keras.Model(model.input, [found.output, model.output])
