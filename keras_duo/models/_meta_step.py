"""The derivatives behind a learned loss, on TensorFlow: how a change of it changes validation.

All of them take the weights, not the variables, and leave the model as it is. A step of the inner
optimizer is theta' = theta - s * grad L_phi(theta), with one step size s for each weight.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_duo.losses._learned_forms import bounds

# A share of a mixture that goes out of it once phi has settled.
NEGLIGIBLE = 0.02

# Takes coefficients, labels and outputs; gives one value an example.
Loss = Callable[[Any, Any, Any], Any]


def train(meta: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """One step of the model on a batch and, where it is due, one of its loss.

    Returns:
        The loss, the outputs, and what the step of the loss saw (NaN where it was not due): the
        alignment, or the validation loss after the lookahead.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        raise NotImplementedError(
            "A loss is learned on one replica; afterwards it trains on any number. "
            f"Received: {replicas} replicas"
        )
    model, learner = meta.model, meta.learner
    if not meta.optimizer.built:  # the step sizes are read before its first step
        meta.optimizer.build(model.trainable_variables)
    phi = _tensor(meta.coefficients)
    count = meta.step.assign_add(1)
    weights = _weights(model)
    total, slopes, state, y_pred = loss_and_gradient(
        model, lambda y_true, y_pred: learner.values(phi, y_true, y_pred), x, y, weights
    )
    moves = count - meta.warmup
    due = ops.logical_and(moves > 0, moves % learner.interval == 0)
    if learner.settle is not None:
        due = ops.logical_and(due, moves <= learner.settle)
    seen, slope = tf.cond(
        due,
        lambda: _slope(meta, phi, slopes, x, y, count),
        lambda: (tf.constant(np.nan, phi.dtype), tf.zeros_like(phi)),
    )
    message = "The loss or its gradient is not a finite number: see the data and the learning rate."
    checks = [tf.debugging.assert_all_finite(t, message) for t in (total, slope, *slopes)]
    with tf.control_dependencies(checks):
        meta.coefficients.assign(_moved(learner, phi, slope, moves))
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        meta.optimizer.apply_gradients(zip(slopes, model.trainable_variables, strict=True))
    return total, y_pred, seen


def feasible(form: str, phi: Any) -> Any:
    """The nearest coefficients, by the Euclidean distance, that a loss of this form may have."""
    if form == "mixture":
        return nearest_on_simplex(phi)
    least, largest = bounds(form)
    return ops.clip(phi, ops.cast(least, phi.dtype), ops.cast(largest, phi.dtype))


def nearest_on_simplex(point: Any) -> Any:
    """The nearest w with w >= 0 and sum(w) = 1; exact zeros where a bound holds.

    w = max(v - t, 0), with the t for which that sums to 1: of the candidates, the mean excess of
    the k largest entries, the largest one.
    """
    largest_first = -ops.sort(-point)
    counts = ops.cast(ops.arange(1, point.shape[0] + 1), point.dtype)
    thresholds = (ops.cumsum(largest_first) - 1.0) / counts
    return ops.relu(point - ops.max(thresholds))


def step_sizes(optimizer: keras.optimizers.Optimizer, weights: list[Any]) -> list[Any]:
    """What a weight moves for each unit of its gradient; Adam's second moments held fixed."""
    rate = ops.convert_to_tensor(optimizer.learning_rate)
    if isinstance(optimizer, keras.optimizers.SGD):
        return [ops.cast(rate, w.dtype) for w in weights]
    moments = [v for v in optimizer.variables if v.path.endswith("_velocity")]
    if isinstance(optimizer, keras.optimizers.RMSprop):
        return [ops.cast(rate, v.dtype) / ops.sqrt(v + optimizer.epsilon) for v in moments]
    count = ops.cast(ops.maximum(optimizer.iterations, 1), "float32")
    rate = ops.cast(rate, "float32") * ops.sqrt(1.0 - optimizer.beta_2**count)
    return [ops.cast(rate, v.dtype) / (ops.sqrt(v) + optimizer.epsilon) for v in moments]


def loss_and_gradient(model: keras.Model, loss: Callable, x: Any, y: Any, weights: Any) -> tuple:
    """The mean loss of a batch with its penalties, its gradient, the other state, the outputs."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        y_pred, state, penalties = model.stateless_call(
            weights, _state(model), x, training=True, return_losses=True
        )
        total = sum(penalties, ops.mean(loss(y, y_pred)))
    slopes = tape.gradient(total, weights, unconnected_gradients="zero")
    return total, slopes, state, y_pred


def lookahead_gradient(
    model: keras.Model,
    loss: Loss,
    validation_loss: Callable,
    phi: Any,
    sizes: list[Any],
    batches: list[tuple],
    held_out: tuple,
    first_order: bool = False,
) -> tuple[Any, Any]:
    """The validation loss after one inner step on each batch, and its gradient by phi.

    `first_order` leaves out how a step moves the place at which the next gradient is taken.
    """
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(phi)
        weights = _weights(model)
        for x, y in batches:
            place = [tf.stop_gradient(w) for w in weights] if first_order else weights
            _, slopes, *_ = loss_and_gradient(
                model, lambda y_true, y_pred: loss(phi, y_true, y_pred), x, y, place
            )
            weights = [w - s * g for w, s, g in zip(weights, sizes, slopes, strict=True)]
        x, y = held_out
        y_pred, _ = model.stateless_call(weights, _state(model), x, training=True)
        value = ops.mean(validation_loss(y, y_pred))
    return value, outer.gradient(value, phi)


def alignment_gradient(
    model: keras.Model,
    loss: Loss,
    validation_loss: Callable,
    phi: Any,
    sizes: list[Any],
    slopes: list[Any],
    batch: tuple,
    held_out: tuple,
) -> tuple[Any, Any]:
    """cos(g, h), g the training gradient and h that of validation, and minus its gradient by phi.

    Lengths and angles are those of the steps, <g, h> = sum(g * s * h). Because g is linear in the
    loss, d cos / d phi is the derivative of <g(phi), u> for one fixed direction

        u = s * (h / (|g| |h|) - cos * g / |g|^2),

    for which there is no need of g at other phi: one pass back through the gradient gives it.
    """
    x, y = batch
    weights = _weights(model)
    x_held_out, y_held_out = held_out
    _, targets, *_ = loss_and_gradient(model, validation_loss, x_held_out, y_held_out, weights)
    both, own, other = (
        _inner(sizes, a, b) for a, b in ((slopes, targets), (slopes, slopes), (targets, targets))
    )
    tiny = np.finfo(keras.backend.standardize_dtype(own.dtype)).tiny
    norms = ops.sqrt(own) * ops.sqrt(other) + tiny
    cosine = both / norms
    direction = [
        s * (h / norms - g * (cosine / (own + tiny)))
        for s, g, h in zip(sizes, slopes, targets, strict=True)
    ]
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(phi)
        _, again, *_ = loss_and_gradient(
            model, lambda y_true, y_pred: loss(phi, y_true, y_pred), x, y, weights
        )
    return cosine, -outer.gradient(again, phi, output_gradients=direction)


def _moved(learner: Any, phi: Any, slope: Any, moves: Any) -> Any:
    """The next phi: its steps shorten in the second half, and after the last one it stays."""
    if learner.settle is None:
        return feasible(learner.form, phi - learner.learning_rate * slope)
    left = 1.0 - ops.cast(moves, phi.dtype) / learner.settle
    rate = learner.learning_rate * ops.clip(2.0 * left, 0.0, 1.0)
    moved = feasible(learner.form, phi - rate * slope)
    if learner.form != "mixture":
        return moved
    # Of a term that does not help, the last steps leave something that would train on and on.
    large = ops.where(moved < NEGLIGIBLE, 0.0, moved)
    return ops.where(left > 0, moved, large / ops.sum(large))


def _slope(meta: Any, phi: Any, slopes: list, x: Any, y: Any, count: Any) -> tuple[Any, Any]:
    """What the chosen method sees on a batch of the validation data, and its gradient by phi."""
    among = ops.shape(meta.held_out[0])[0]
    picked = tf.random.stateless_uniform(
        (meta.batch_size,), (meta.seed, count), 0, among, dtype="int32"
    )
    held_out = tuple(ops.take(part, picked, axis=0) for part in meta.held_out)
    sizes = step_sizes(meta.optimizer, slopes)
    learner = meta.learner
    parts = (meta.model, learner.values, learner.validation_values, phi, sizes)
    if learner.method == "alignment":
        return alignment_gradient(*parts, slopes, (x, y), held_out)
    batches = [(x[i :: meta.unroll], y[i :: meta.unroll]) for i in range(meta.unroll)]
    return lookahead_gradient(*parts, batches, held_out, learner.first_order)


def _weights(model: keras.Model) -> list[Any]:
    return [_tensor(v) for v in model.trainable_variables]


def _state(model: keras.Model) -> list[Any]:
    return [_tensor(v) for v in model.non_trainable_variables]


def _tensor(variable: keras.Variable) -> Any:
    """The value as it is now, which a later assignment does not change."""
    return tf.identity(variable.value)


def _inner(sizes: list[Any], first: list[Any], second: list[Any]) -> Any:
    return sum(ops.sum(s * a * b) for s, a, b in zip(sizes, first, second, strict=True))
