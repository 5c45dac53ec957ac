"""One line for each public class; every promise runs over every line."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import keras_duo as duo
from tests.backend import BACKEND, has_float64

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
    last_axis: int | None = None  # the one size that the last axis can have
    per_region: bool = False  # one value for all pixels of an example, so no mask of single ones
    # Exceptions, each by the definition of the loss; a promise fails where one is not needed.
    nonnegative: bool = True  # False for a difference of scores, which has no lower bound
    holds_a_factor: bool = False  # a factor of the value is a constant to the gradient
    across_batch: bool = False  # a value is relative to means over the whole batch
    required: dict = field(default_factory=dict)  # arguments without a default
    function: Callable | None = None  # where the class does not name its function itself
    part: str = ""  # which of several lines of one class this is

    def make(self, **arguments):
        return self.loss(**{**self.required, **arguments})

    @property
    def direct(self):
        return self.function or self.loss.function

    @property
    def value_shape(self):
        return self.y_pred.shape[:1] if self.per_region else self.y_pred.shape[:-1]

    @property
    def holds_class_ids(self):
        return np.issubdtype(self.y_true.dtype, np.integer)

    def __str__(self):
        return self.loss.__name__ + self.part


@dataclass(frozen=True)
class LayerCase:
    """A layer, an input shape (without the batch axis), and what it must refuse."""

    layer: type
    input_shape: tuple
    variants: tuple[dict, ...]
    bad_arguments: tuple[dict, ...]
    bad_inputs: tuple[tuple[dict, tuple], ...] = field(default=())
    as_activation: bool = False
    required: dict = field(default_factory=dict)  # arguments without a default
    atol: float = 1e-7  # more where each output is a sum over many products

    def make(self, **arguments):
        return self.layer(**{**self.required, **arguments})

    def __str__(self):
        return self.layer.__name__


@dataclass(frozen=True)
class MetricCase:
    """A metric, labels and outputs for it (four examples), and what it must refuse."""

    metric: type
    y_true: np.ndarray
    y_pred: np.ndarray
    variants: tuple[dict, ...]
    bad_arguments: tuple[dict, ...]
    required: dict = field(default_factory=dict)  # arguments without a default
    of_moments: bool = False  # no mean of values, so that the same batch again moves it

    def make(self, **arguments):
        return self.metric(**{**self.required, **arguments})

    def __str__(self):
        return self.metric.__name__


def variants_of(case):
    """The arguments to try: all; on JAX, which compiles each operation, the first and the last."""
    few = BACKEND == "jax" and len(case.variants) > 2
    return (case.variants[0], case.variants[-1]) if few else case.variants


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

_numbers = _random.integers(0, 4, (_BATCH, _TIME)).astype("float64")
_forecasts = _random.normal(1.5, 1.0, (_BATCH, _TIME, 3))
_bad_quantiles = (
    {"quantiles": [0.5, 1.2]},
    {"quantiles": [0.0, 0.5]},
    {"quantiles": []},
    {"quantiles": "0.5"},
    {"quantiles": float("nan")},
)

LOSSES += (
    LossCase(
        duo.Quantile,
        np.repeat(_numbers[..., None], 3, axis=-1),
        _forecasts,
        variants=({}, {"quantiles": 0.9}, {"quantiles": 0.1, "smoothing": 0.5}),
        bad_arguments=(
            *_bad_quantiles,
            {"quantiles": 1.0},
            {"quantiles": True},
            {"smoothing": -1.0},
            {"smoothing": float("inf")},
            {"reduction": "average"},
        ),
        bad_shapes=(((5,), (5, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((), ())),
    ),
    LossCase(
        duo.Quantile,
        _numbers,
        _forecasts,
        required={"quantiles": [0.1, 0.5, 0.9]},
        function=lambda y_true, y_pred, quantiles=(0.1, 0.5, 0.9), **kwargs: duo.quantile_loss(
            y_true, y_pred, quantiles=quantiles, **kwargs
        ),
        variants=({}, {"quantiles": [0.9, 0.2, 0.3]}, {"smoothing": 0.5}),
        bad_arguments=_bad_quantiles,
        bad_shapes=(((3, 3), (3, 3)), ((5,), (5, 4)), ((4,), (5, 3)), ((3,), (3,)), ((), ())),
        part="s",
    ),
)

_layout = np.random.default_rng(1)
_corners = _layout.integers((1, 1, 6, 6), (4, 4, 10, 10), (_BATCH, _TIME, 4)).astype("float64")
# No side of a prediction lies near one of its label, in any format: the losses have a kink there.
_moved = _layout.choice([-1.0, 1.0], (_BATCH, _TIME, 4)) * (0.4, 0.4, 1.6, 1.6)
_boxes = _corners + _moved + _layout.uniform(-0.05, 0.05, (_BATCH, _TIME, 4))

LOSSES += tuple(
    LossCase(
        loss,
        _corners,
        _boxes,
        variants=(
            {},
            {"bounding_box_format": "center_xywh"},
            {"bounding_box_format": "rel_yxyx"},
            {"bounding_box_format": "rel_xywh"},
        ),
        bad_arguments=(
            {"bounding_box_format": "xyx"},
            {"bounding_box_format": None},
            {"bounding_box_format": 4},
            {"reduction": "average"},
        ),
        bad_shapes=(
            *(((4,), (5, 4)), ((1, 4), (5, 4)), ((5, 2, 4), (5, 1, 4))),
            *(((5, 3), (5, 3)), ((4,), (4,)), ((), ())),
        ),
        last_axis=4,
        holds_a_factor=loss is duo.CIoU,  # alpha, the weight of the aspect ratio
    )
    for loss in (duo.IoU, duo.GIoU, duo.DIoU, duo.CIoU)
)

# Raw scores away from -1 and 1, the kinks of the hinge.
_scores = _random.choice([-1.0, 1.0], _binary.shape) * _random.uniform(1.2, 4.0, _binary.shape)

LOSSES += tuple(
    LossCase(
        loss,
        _binary,
        _scores,
        variants=({}, *variants),
        bad_arguments=(*bad_arguments, {"reduction": "average"}),
        bad_shapes=(((5,), (5, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((), ())),
        nonnegative=loss is not duo.Wasserstein,
        across_batch=loss is duo.RelativisticAverage,
    )
    for loss, variants, bad_arguments in (
        (
            duo.LSGAN,
            ({"fake_target": -1.0, "real_target": 0.5, "generator_target": 0.0},),
            ({"fake_target": "0"}, {"real_target": float("inf")}, {"generator_target": None}),
        ),
        (duo.Wasserstein, (), ()),
        (duo.HingeGAN, (), ()),
        (
            duo.NonSaturating,
            ({"label_smoothing": 0.1},),
            ({"label_smoothing": 1.0}, {"label_smoothing": -0.1}),
        ),
        (duo.RelativisticAverage, (), ()),
    )
)

_bad_overlap = (
    {"smooth": -1.0},
    {"from_logits": "tanh"},
    {"from_logits": 1},
    {"ignore_class": 0.5},
    {"axis": 1.5},
    {"reduction": "average"},
)

LOSSES += tuple(
    LossCase(
        loss,
        _binary,
        _probabilities,
        variants=(
            {},
            {"from_logits": "sigmoid", "smooth": 0.0},
            {"from_logits": "softmax", **arguments},
            {"axis": None, "ignore_class": 255, **arguments},
            {"axis": 1},
        ),
        bad_arguments=(*_bad_overlap, *bad_arguments),
        bad_shapes=(
            *(((5, 2, 3), (5, 2, 4)), ((1, 2, 3), (5, 2, 3)), ((5, 4), (5, 2, 3))),
            *(((5,), (5,)), ((), ())),
        ),
        per_region=True,
    )
    for loss, arguments, bad_arguments in (
        (duo.Tversky, {"alpha": 0.3, "beta": 0.7}, ({"alpha": -0.1}, {"beta": None})),
        (duo.Dice, {"smooth": 0.1}, ()),
        (
            duo.FocalTversky,
            {"gamma": 2.0, "alpha": 0.5, "beta": 0.6},
            ({"gamma": 0.0}, {"alpha": -0.1}, {"beta": "1"}),
        ),
    )
)

_bad_robust = (
    {"from_logits": "yes"},
    {"axis": 1.0},
    {"reduction": "average"},
)

LOSSES += (
    *(
        LossCase(
            loss,
            _one_hot,
            _probabilities,
            variants=({}, {"from_logits": True}, *variants),
            bad_arguments=(*_bad_robust, *bad_arguments, {"label_smoothing": 1.1}),
            bad_shapes=(((3,), (3, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((5,), (5, 1))),
            over_classes=True,
        )
        for loss, variants, bad_arguments in (
            (
                duo.SymmetricCrossEntropy,
                (
                    {"alpha": 1.0, "beta": 0.1, "log_zero": -6.0, "label_smoothing": 0.2},
                    {"alpha": 0.0, "from_logits": True},
                ),
                ({"alpha": -1.0}, {"beta": None}, {"log_zero": 0.0}, {"log_zero": float("-inf")}),
            ),
            (
                duo.PolyCrossEntropy,
                (
                    {"epsilon": 2.0, "label_smoothing": 0.2},
                    {"epsilon": -1.0, "from_logits": True},
                ),
                ({"epsilon": -1.5}, {"epsilon": "1"}),
            ),
        )
    ),
    LossCase(
        duo.AsymmetricFocal,
        _binary,
        _probabilities,
        variants=(
            {},
            {"from_logits": True},
            {"gamma_positive": 1.0, "gamma_negative": 0.5, "shift": 0.2},
            {"gamma_negative": 0.0, "shift": 0.0, "from_logits": True},
        ),
        bad_arguments=(
            *_bad_robust,
            *({"gamma_positive": -1.0}, {"gamma_negative": None}, {"shift": 1.0}, {"shift": -0.1}),
        ),
        bad_shapes=(((5,), (5, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((), ())),
    ),
)

_learned_weights = (0.25, 0.0, 0.25, 0.125, 0.125, 0.125, 0.125)
_learned_network = tuple(np.random.default_rng(2).normal(size=33))
_bad_learned = (
    *_bad_robust,
    {"form": "spline"},
    {"form": 1},
    {"task": "ranking"},
    {"scale": 0.0},
    {"coefficients": "1, 0"},
    {"coefficients": [1.0]},
    {"coefficients": 1.0},
    {"coefficients": [1.0, float("nan"), 0.0, 0.0, 0.0, 0.0, 0.0]},
    {"coefficients": [1.5, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0]},
    {"coefficients": [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
)

LOSSES += (
    LossCase(
        duo.LearnedLoss,
        _one_hot,
        _probabilities,
        variants=(
            {},
            {"coefficients": _learned_weights},
            {"coefficients": _learned_weights, "from_logits": True},
            {"form": "taylor", "coefficients": (-0.25, -0.1, 2.0)},
            {"form": "network", "coefficients": _learned_network, "from_logits": True},
        ),
        bad_arguments=(*_bad_learned, {"scale": 2.0}),
        bad_shapes=(((3,), (3, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((5,), (5, 1))),
        over_classes=True,
    ),
    LossCase(
        duo.LearnedLoss,
        np.repeat(_numbers[..., None], 3, axis=-1),
        _forecasts,
        required={"task": "regression"},
        function=lambda y_true, y_pred, **kwargs: duo.learned_loss(
            y_true, y_pred, **{"task": "regression", **kwargs}
        ),
        variants=(
            {},
            {"coefficients": _learned_weights, "scale": 2.0},
            {"form": "taylor", "coefficients": (0.5, 0.0, -0.1)},
            {"form": "network", "coefficients": _learned_network},
        ),
        bad_arguments=(*_bad_learned, {"from_logits": True}),
        bad_shapes=(((5,), (5, 3)), ((5, 1), (5, 3)), ((5, 3), (5, 4)), ((), ())),
        part="Regression",
    ),
)

_bad_axis = ({"axis": "channels"}, {"axis": 1.5})
_bad_channels = (({"axis": 0}, (2, 3)), ({"axis": 5}, (2, 3)), ({"axis": 1}, (None, None, 3)))

LAYERS = tuple(
    LayerCase(
        layer,
        (4, 6),
        variants=({}, *variants, {"axis": 1}),
        bad_arguments=(*_bad_axis, *bad_arguments),
        bad_inputs=_bad_channels,
        as_activation=True,
    )
    for layer, variants, bad_arguments in (
        (
            duo.LearnableActivation,
            (
                {"activation": "tanh", "scale_regularizer": "l2"},
                {"activation": "gelu", "axis": -1, "shift_constraint": "non_neg"},
            ),
            ({"activation": "no_such_activation"}, {"activation": 3}),
        ),
        (
            duo.Swish,
            (
                {"beta_initializer": 0.5, "beta_regularizer": "l2"},
                {"beta_initializer": "random_normal", "axis": -1, "beta_constraint": "non_neg"},
            ),
            ({"beta_initializer": float("nan")}, {"beta_initializer": "no_such_initializer"}),
        ),
        (
            duo.Acon,
            (
                {"p1_initializer": 1.5, "p2_regularizer": "l2"},
                {"beta_initializer": "random_normal", "axis": None, "p2_constraint": "non_neg"},
            ),
            ({"p1_initializer": float("inf")}, {"p2_initializer": True}),
        ),
        (
            duo.MetaAcon,
            (
                {"reduction": 2, "expand_kernel_regularizer": "l2", "p1_constraint": "non_neg"},
                {"expand_kernel_initializer": "random_normal", "p2_initializer": 0.1},
            ),
            ({"axis": None}, {"reduction": 0}, {"reduction": 1.5}, {"p1_initializer": "no"}),
        ),
        (
            duo.Rational,
            (
                {"approximates": "identity", "denominator_regularizer": "l2"},
                {"approximates": "tanh", "axis": -1, "numerator_constraint": "max_norm"},
            ),
            ({"approximates": "relu6"}, {"approximates": None}, {"numerator_initializer": "no"}),
        ),
        (
            duo.Snake,
            (
                {"frequency_initializer": 0.0, "frequency_regularizer": "l2"},
                {"frequency_initializer": -5.0, "axis": -1, "frequency_constraint": "max_norm"},
            ),
            ({"frequency_initializer": float("nan")},),
        ),
    )
)

_bad_dynamic = ({"axis": "channels"}, {"axis": 1.5}, {"context": "channels"}, {"context": 1})
_bad_channels = (({"axis": 0}, (2, 3)), ({"axis": 5}, (2, 3)), ({"axis": 1}, (None, None, 3)))

LAYERS += (
    LayerCase(
        duo.DynamicReLU,
        (4, 6),
        variants=(
            {},
            {"reduction": 2, "pieces": 3, "kernel_regularizer": "l2", "bias_constraint": "non_neg"},
            {"context": "position", "kernel_initializer": "he_normal"},
            {"axis": 1, "coefficient_initializer": "random_normal"},
        ),
        bad_arguments=(*_bad_dynamic, {"reduction": 0}, {"reduction": 1.5}, {"pieces": 1}),
        bad_inputs=_bad_channels,
        as_activation=True,
    ),
    LayerCase(
        duo.AttentionActivation,
        (4, 6),
        variants=(
            {},
            {"heads": 1, "slots": 3, "key_constraint": "unit_norm", "value_regularizer": "l2"},
            {"context": "mean", "key_initializer": "he_normal"},
            {"axis": 1, "value_initializer": "random_normal"},
        ),
        bad_arguments=(*_bad_dynamic, {"heads": 0}, {"heads": True}, {"slots": 1}),
        bad_inputs=_bad_channels,
        as_activation=True,
        atol=1e-6,
    ),
)

LAYERS += (
    LayerCase(
        duo.QuantileHead,
        (4, 6),
        required={"quantiles": [0.1, 0.5, 0.9]},
        variants=(
            {},
            {"quantiles": [0.5]},
            {"quantiles": [0.1, 0.3, 0.7, 0.9], "initial_spread": 3.0, "use_bias": False},
            {"kernel_regularizer": "l2", "bias_constraint": "non_neg", "bias_initializer": "ones"},
        ),
        bad_arguments=(
            *_bad_quantiles,
            {"quantiles": [0.5, 0.1]},
            {"quantiles": [0.5, 0.5]},
            {"units": 0},
            {"units": 1.5},
            {"initial_spread": 0.0},
            {"use_bias": 1},
        ),
    ),
)

LAYERS += (
    LayerCase(
        duo.TransformerBlock,
        (4, 8),
        required={"embed_dim": 8, "num_heads": 2, "ff_dim": 12},
        variants=(
            {},
            {"norm_first": True, "activation": "gelu", "use_causal_mask": True, "rotary": True},
            {
                "normalization": "rms",
                "num_heads": 4,
                "num_kv_heads": 2,
                "qk_norm": True,
                "gated": True,
                "activation": "silu",
                "use_bias": False,
                "layer_scale": 0.1,
            },
            {
                "dropout": 0.1,
                "attention_dropout": 0.1,
                "drop_path": 0.1,
                "kernel_regularizer": "l2",
                "residual_initializer": "random_normal",
            },
        ),
        bad_arguments=(
            *({"embed_dim": 0}, {"embed_dim": 8.0}, {"num_heads": 3}, {"num_heads": True}),
            *({"ff_dim": None}, {"num_kv_heads": 0}, {"num_kv_heads": 3}, {"dropout": 1.0}),
            *({"attention_dropout": -0.1}, {"drop_path": "0.1"}, {"activation": "no_such"}),
            *({"normalization": "batch"}, {"epsilon": 0.0}, {"max_wavelength": 1.0}),
            *({name: 1} for name in ("norm_first", "use_causal_mask", "rotary", "qk_norm")),
            *({"gated": None}, {"use_bias": "yes"}, {"layer_scale": float("nan")}),
        ),
        bad_inputs=(({"embed_dim": 6}, (2, 3, 8)), ({"embed_dim": 8}, (2, 8))),
        atol=1e-5,
    ),
    LayerCase(
        duo.PositionalEmbedding,
        (4, 6),
        required={"max_length": 4},
        variants=(
            {},
            {"initializer": "sinusoidal", "regularizer": "l2"},
            {"max_length": 9, "initializer": "random_normal"},
        ),
        bad_arguments=({"max_length": 0}, {"max_length": 2.5}, {"max_length": None}),
    ),
)

METRICS = (
    MetricCase(
        duo.LossMean,
        _binary,
        _probabilities,
        required={"loss": duo.Focal(gamma=1.0)},
        variants=({}, {"name": "given"}),
        bad_arguments=(),
    ),
    MetricCase(
        duo.ObjectiveWeight,
        _binary,
        _probabilities,
        # Fixed weights: those that are found anew are not the mean of those of parts of a batch.
        required={"loss": duo.MultiObjective([duo.Focal(), duo.Focal(0.0)], [3, 1]), "index": 1},
        variants=({}, {"name": "given", "index": 0}),
        bad_arguments=({"loss": duo.Focal()}, {"index": 2}, {"index": -1}),
    ),
    MetricCase(
        duo.PinballLoss,
        _numbers,
        _forecasts,
        required={"quantiles": [0.1, 0.5, 0.9]},
        variants=({}, {"quantiles": [0.9, 0.2, 0.3], "name": "given"}),
        bad_arguments=_bad_quantiles,
    ),
    MetricCase(
        duo.QuantileCoverage,
        _numbers,
        np.sort(_forecasts, axis=-1),
        variants=({}, {"lower": 1, "upper": 2, "name": "given"}),
        bad_arguments=({"lower": 0.5}, {"upper": "1"}, {"upper": None}),
    ),
)

METRICS += (
    MetricCase(
        duo.FrechetDistance,
        _random.normal(size=(4, 2)),
        _random.normal(1.0, 2.0, size=(4, 2)),
        variants=({}, {"name": "given"}),
        bad_arguments=({"classifier": "inception"},),
        of_moments=True,
    ),
)
