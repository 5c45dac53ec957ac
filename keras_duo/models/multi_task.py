"""MultiTask: several outputs, and the weights between their losses."""

from typing import Any

import keras
from keras import backend, ops

from keras_duo._register import register
from keras_duo._serialize import model_from_config
from keras_duo.models._multi_task_objectives import (
    Objectives,
    losses_from_config,
    losses_to_config,
)
from keras_duo.models._multi_task_step import combined_gradients, tapped
from keras_duo.models._multi_task_weights import TaskWeights


@register
class MultiTask(keras.Model):
    """Minimizes sum_i w_i L_i over a model with several outputs, w found while it trains.

    `compile` takes the losses and the method. Methods of the losses ("inverse", "fixed",
    "uncertainty", "dwa", "famo", "random") cost nothing and weigh the whole gradient of a task.
    Methods of the gradients ("mgda", "upgrad", "pcgrad", "cagrad", "imtl_g", "aligned_mtl", "nash",
    "gradnorm", "balanced") cost a backward pass for each task and weigh what the tasks share: a
    variable that one task alone reaches, its head, keeps its own gradient. They need TensorFlow.
    `docs/multi_task.md` says which to use when; equal weights are hard to beat where the losses are
    of one scale.

    Args:
        model: A Keras model with several outputs. It stays usable by itself, for inference, as
            `multi_task.model`.
        objectives: Outputs of each objective, `{"boxes": ["corner", "size"], "class": ["class"]}`;
            their losses are added. None: every output that has a loss is one.

    Logged beside Keras' own metrics: `<task>_loss`, and `<task>_weight`, the mean over the steps.
    `loss` is sum_i w_i L_i for methods of the losses and the mean loss for those of gradients, plus
    the regularization losses of the layers.

    Raises:
        ValueError: If an argument is none of the above.
        NotImplementedError: For a method of gradients on a backend other than TensorFlow.

    Source:
        Kendall et al., 2018, arXiv:1705.07115; Sener and Koltun, 2018, arXiv:1810.04650; of each
        method: `keras_duo.weightings`.

    Example:
        >>> import keras, keras_duo, numpy as np
        >>> entry = keras.Input((4,))
        >>> trunk = keras.layers.Dense(8, "relu")(entry)
        >>> heads = {name: keras.layers.Dense(1, name=name)(trunk) for name in ("near", "far")}
        >>> model = keras_duo.MultiTask(keras.Model(entry, heads))
        >>> model.compile("adam", loss={"near": "mse", "far": "mae"}, weighting="inverse")
        >>> x = np.ones((8, 4), "float32")
        >>> y = {"near": np.ones((8, 1)), "far": np.ones((8, 1))}
        >>> logs = model.fit(x, y, verbose=0).history
        >>> round(logs["near_weight"][0] + logs["far_weight"][0], 5)
        1.0
    """

    task_state: TaskWeights

    def __init__(
        self, model: keras.Model, objectives: dict[str, list[str]] | None = None, **kwargs: Any
    ) -> None:
        if not isinstance(model, keras.Model):
            raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
        # The inputs are the model's to cast: ids in float32 do not survive float16.
        super().__init__(**{"autocast": False, "dtype": model.dtype_policy, **kwargs})
        self.model = model
        self.objectives = _groups(objectives)
        self.built = model.built

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        weighting: str = "inverse",
        weighting_arguments: dict[str, Any] | None = None,
        representation: Any = None,
        **kwargs: Any,
    ) -> None:
        """Set the optimizer, the losses, and the method that finds the weights.

        Args:
            optimizer: As in Keras.
            loss: A loss for each output: a dictionary by name, a list, or one for all.
            weighting: The method, a name from the list above.
            weighting_arguments: Keyword arguments of the function in `keras_duo.weightings`, such
                as `{"weights": [1, 2]}` for "fixed" or `{"c": 0.4}` for "cagrad".
            representation: Of a Functional model, a layer or its name. Methods of gradients then
                compare the tasks at the output of this layer, which costs the backward pass of the
                heads twice and that of the rest once, however many tasks there are. None: at the
                weights that tasks share, which is exact and costs the whole backward pass for each.
            **kwargs: What else `keras.Model.compile` takes, but not `loss_weights`.

        A model that is compiled again goes on with the state of its weighting, as it does with its
        weights, and so the method stays the same.

        Raises:
            ValueError: If an argument is none of the above.
        """
        if kwargs.pop("loss_weights", None) is not None:
            raise ValueError(
                "`loss_weights` must be given as `weighting='fixed', weighting_arguments="
                "{'weights': [...]}`. Received: loss_weights"
            )
        super().compile(optimizer=optimizer, loss=loss, **kwargs)
        found = Objectives(loss, self.objectives, getattr(self, "output_names", None))
        arguments = {} if weighting_arguments is None else weighting_arguments
        weights = TaskWeights(weighting, len(found.groups), arguments)
        by_gradient = weights.method.by_gradient
        if by_gradient and backend.backend() != "tensorflow":
            raise NotImplementedError(
                f"`weighting={weighting!r}` looks at the gradient of each task, which needs the "
                f"TensorFlow backend. Received: backend={backend.backend()!r}"
            )
        if representation is not None and not by_gradient:
            raise ValueError(
                "`representation` must be None for a weighting that looks at no gradient. "
                f"Received: representation={representation!r}, weighting={weighting!r}"
            )
        view = None if representation is None else tapped(self.model, representation)
        self._tasks = _Untracked(found, view, {"optimizer": optimizer, "loss": loss, **kwargs})
        kept = getattr(self, "task_state", None)
        if kept is None:
            self.task_state = weights
        elif not kept.is_like(weights):
            raise ValueError(
                "`weighting`, its arguments and the number of tasks must be those of the first "
                "`compile`: their state is part of the model, and goes on. Make a new MultiTask "
                f"around the same model. Received: weighting={weighting!r}, "
                f"weighting_arguments={arguments}"
            )
        self._task_config = {
            "loss": losses_to_config(loss),
            "weighting": weighting,
            "weighting_arguments": weights.arguments,
            "representation": getattr(representation, "name", representation),
        }

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The outputs of the model."""
        return self.model(inputs)

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, where the model is a Functional one."""
        names = self.model.output_names  # no such attribute otherwise, here neither
        return list(self.model.output) if isinstance(self.model.output, dict) else names

    @property
    def task_weights(self) -> dict[str, float]:
        """The weights of the last training step."""
        return self._by_task(self.task_state.in_force)

    @property
    def task_losses(self) -> dict[str, float]:
        """The losses of the last training step, before they are weighted."""
        return self._by_task(self.task_state.losses_seen)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Keras' own, and the mean loss and mean weight of each task."""
        tasks = getattr(self, "_tasks", None)
        return [*super().metrics, *(tasks.objectives.metrics if tasks else [])]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The weighted sum of the losses of the tasks, and the losses of the layers."""
        objectives, layer = self._tasks.objectives, self.task_state
        losses = ops.stack(objectives.values(y, y_pred, sample_weight))
        everywhere = _over_replicas(ops.stop_gradient(losses))
        extra = None
        if layer.method.by_gradient:
            weights = ops.convert_to_tensor(layer.in_force)
            applied = ops.full_like(weights, 1.0 / len(objectives.groups))
        else:
            extra = layer.objective(everywhere) if training else None
            weights = applied = (
                layer.update(everywhere) if training else ops.convert_to_tensor(layer.in_force)
            )
        objectives.track(everywhere, weights, _batch_size(x if x is not None else y_pred))
        total = ops.sum(applied * losses)
        for part in (extra if extra is None else extra / _replicas(), self._penalty()):
            total = total if part is None else total + part
        return total

    def train_step(self, *arguments: Any) -> Any:
        """One step: Keras' own, or that of a method that looks at the gradient of each task."""
        if not self.task_state.method.by_gradient:
            return super().train_step(*arguments)
        (data,) = arguments
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        tasks, layer = self._tasks, self.task_state

        def losses() -> tuple[list, Any, Any, Any]:
            if tasks.tapped is None:
                at, outputs = None, self(x, training=True)
            else:
                at, outputs = tasks.tapped(x, training=True)
            return (
                tasks.objectives.values(y, outputs, sample_weight),
                self._penalty(),
                at,
                outputs,
            )

        variables = self.trainable_variables
        gradients, totals, weights, penalty, y_pred = combined_gradients(
            losses, variables, self.optimizer.scale_loss, layer.update
        )
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        count = _batch_size(x)
        tasks.objectives.track(totals, weights, count)
        mean = ops.mean(totals) + (0.0 if penalty is None else penalty * _replicas())
        next(m for m in self.metrics if m.name == "loss").update_state(mean, sample_weight=count)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor."""
        config = {"model": keras.saving.serialize_keras_object(self.model)}
        return {**super().get_config(), **config, "objectives": self.objectives}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MultiTask":
        """Rebuild the model around one of Keras' own or of a registered class."""
        return cls(**{**config, "model": model_from_config(config["model"], custom_objects)})

    def get_compile_config(self) -> dict[str, Any]:
        """Every argument of `compile`."""
        config = super().get_compile_config()
        config.pop("loss_weights", None)
        return {**config, **self._task_config} if config else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as before; the optimizer has its variables at once, for its state to load."""
        kept = ("weighting", "weighting_arguments", "representation")
        ours = {name: config[name] for name in kept}
        others = {k: v for k, v in config.items() if k not in (*kept, "loss")}
        restored = keras.saving.deserialize_keras_object(others)
        self.compile(**restored, loss=losses_from_config(config["loss"]), **ours)
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def without_weighting(self) -> keras.Model:
        """A Functional model of the same layers, losses and metrics, as Keras compiles it.

        What this class adds to it are the weights of the losses.
        """
        plain = keras.Model(self.model.input, self.model.output, name=self.model.name)
        given = self._tasks.given
        names = ("loss", "metrics", "weighted_metrics")
        plain.compile(**{name: given[name] for name in names if name in given})
        return plain

    def _by_task(self, variable: Any) -> dict[str, float]:
        values = map(float, ops.convert_to_numpy(variable))
        return dict(zip(self._tasks.objectives.groups, values, strict=True))

    def _penalty(self) -> Any:
        """The losses that layers added, regularization among them; None if there are none."""
        added = [ops.sum(ops.cast(loss, "float32")) for loss in self.losses]
        return sum(added) / _replicas() if added else None


class _Untracked:
    """What Keras must not take for a part of the model: views of it, and metrics of one `fit`."""

    def __init__(
        self, objectives: Objectives, tapped: keras.Model | None, given: dict[str, Any]
    ) -> None:
        self.objectives, self.tapped, self.given = objectives, tapped, given


def _groups(objectives: Any) -> dict[str, list[str]] | None:
    if objectives is None:
        return None
    valid = isinstance(objectives, dict) and all(
        isinstance(name, str)
        and isinstance(outputs, list | tuple)
        and outputs
        and all(isinstance(output, str) for output in outputs)
        for name, outputs in objectives.items()
    )
    if not valid or len(objectives) < 2:
        raise ValueError(
            "`objectives` must be None or a dictionary of at least two lists of names of outputs. "
            f"Received: objectives={objectives!r}"
        )
    return {name: list(outputs) for name, outputs in objectives.items()}


def _replicas() -> int:
    if backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def _over_replicas(shares: Any) -> Any:
    """Losses over all replicas, from the share of each."""
    if _replicas() == 1:
        return shares
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:  # where Keras traces shapes, outside of any replica
        return shares
    return context.all_reduce(tf.distribute.ReduceOp.SUM, shares)


def _batch_size(structure: Any) -> Any:
    return ops.shape(keras.tree.flatten(structure)[0])[0]
