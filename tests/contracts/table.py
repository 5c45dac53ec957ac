"""One line for each public class; every promise runs over every line."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import keras_duo as duo
from tests.backend import has_float64

WIDEST = "float64" if has_float64() else "float32"


@dataclass(frozen=True)
class LossCase:
    """A loss, labels and outputs for it, and what it must refuse.

    `y_true` and `y_pred` have two leading axes of the same size, (batch, time), so that a mix-up of
    the two shows, and `y_pred` is valid both as probabilities and as logits.
    """

    loss: type
    y_true: np.ndarray
    y_pred: np.ndarray
    variants: tuple[dict, ...]
    bad_arguments: tuple[dict, ...]
    bad_shapes: tuple[tuple[tuple, tuple], ...]
    integer_labels: bool = True
    over_classes: bool = False  # needs at least two units
    required: dict = field(default_factory=dict)  # arguments without a default
    function: Callable | None = None  # where the class does not name its function itself

    def make(self, **arguments):
        return self.loss(**{**self.required, **arguments})

    @property
    def direct(self):
        return self.function or self.loss.function

    def __str__(self):
        return self.loss.__name__


@dataclass(frozen=True)
class LayerCase:
    """A layer, an input shape (without the batch axis), and what it must refuse."""

    layer: type
    input_shape: tuple
    variants: tuple[dict, ...]
    bad_arguments: tuple[dict, ...]
    bad_inputs: tuple[tuple[dict, tuple], ...] = field(default=())
    as_activation: bool = False

    def __str__(self):
        return self.layer.__name__


_random = np.random.default_rng(0)
_BATCH = _TIME = 4
_CLASSES = 3
_probabilities = _random.dirichlet(np.ones(_CLASSES), (_BATCH, _TIME))
_ids = _random.integers(0, _CLASSES, (_BATCH, _TIME))
_one_hot = np.eye(_CLASSES)[_ids]
_binary = _random.integers(0, 2, (_BATCH, _TIME, _CLASSES)).astype("float64")

_bad_focal = (
    {"gamma": -0.5},
    {"gamma": float("nan")},
    {"gamma": "2"},
    {"alpha": -1.0},
    {"alpha": []},
    {"alpha": [0.5, None]},
    {"from_logits": "yes"},
    {"axis": 1.0},
    {"reduction": "average"},
)

LOSSES = (
    LossCase(
        duo.Focal,
        _binary,
        _probabilities,
        variants=(
            {},
            {"from_logits": True},
            {"gamma": 0.0},
            {"gamma": 0.5, "alpha": 0.25, "from_logits": True},
            {"alpha": [0.1, 0.5, 0.9], "label_smoothing": 0.2},
        ),
        bad_arguments=(*_bad_focal, {"alpha": 1.5}, {"label_smoothing": 1.1}),
        bad_shapes=(((5,), (5, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((), ())),
    ),
    LossCase(
        duo.CategoricalFocal,
        _one_hot,
        _probabilities,
        variants=(
            {},
            {"from_logits": True},
            {"gamma": 0.0},
            {"gamma": 0.5, "alpha": 0.25, "from_logits": True},
            {"alpha": [0.1, 0.5, 2.0], "label_smoothing": 0.2},
        ),
        bad_arguments=(*_bad_focal, {"label_smoothing": -0.1}),
        bad_shapes=(((3,), (3, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((5,), (5, 1))),
        over_classes=True,
    ),
    LossCase(
        duo.SparseCategoricalFocal,
        _ids,
        _probabilities,
        variants=(
            {},
            {"from_logits": True},
            {"gamma": 0.0},
            {"gamma": 0.5, "alpha": [0.1, 0.5, 2.0], "from_logits": True},
            {"ignore_class": 1},
        ),
        bad_arguments=(*_bad_focal, {"ignore_class": 0.5}),
        bad_shapes=(((3, 3), (3, 3)), ((5, 2), (5, 3)), ((4,), (5, 3)), ((5,), (5, 1))),
        over_classes=True,
    ),
)

LOSSES += (
    LossCase(
        duo.MultiObjective,
        _binary,
        _probabilities,
        required={
            # The parts compute in their own dtype; the gradient promise needs it to be the widest.
            "losses": [
                duo.Focal(gamma=0.0, dtype=WIDEST),
                duo.Focal(gamma=2.0, label_smoothing=0.2, dtype=WIDEST),
            ]
        },
        function=lambda y_true, y_pred, weights=(0.5, 0.5): (
            weights[0] * duo.focal_loss(y_true, y_pred, gamma=0.0)
            + weights[1] * duo.focal_loss(y_true, y_pred, gamma=2.0, label_smoothing=0.2)
        ),
        variants=({}, {"weights": [0.75, 0.25]}),
        bad_arguments=(
            {"losses": []},
            {"losses": ["no such loss"]},
            {"weights": [1.0, -1.0]},
            {"weights": [0.0, 0.0]},
            {"weighting": "softmax"},
            {"reduction": "average"},
        ),
        bad_shapes=(((5,), (5, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((), ())),
    ),
)

_bad_learnable = (
    {"activation": "no_such_activation"},
    {"activation": 3},
    {"axis": "channels"},
)

LAYERS = (
    LayerCase(
        duo.LearnableActivation,
        (4, 6),
        variants=(
            {},
            {"activation": "tanh", "scale_regularizer": "l2"},
            {"activation": "gelu", "axis": -1, "shift_constraint": "non_neg"},
            {"axis": 1},
        ),
        bad_arguments=_bad_learnable,
        bad_inputs=(({"axis": 0}, (2, 3)), ({"axis": 5}, (2, 3)), ({"axis": 1}, (None, None, 3))),
        as_activation=True,
    ),
)
