"""The pictures: what their axes say, and whether the curves are what they are named for."""

import sys

import keras
import matplotlib
import numpy as np
import pytest
from scipy.special import expit, ndtr

import keras_duo
from keras_duo import plots


def curve(axes, label):
    """The data of the line with this label."""
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line.get_xdata(), line.get_ydata()


def labels(figure):
    return [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]


@pytest.fixture(autouse=True)
def _pyplot_is_left_alone():
    before = _open_figures()
    yield
    assert _open_figures() == before


def _open_figures():
    """The figures that pyplot holds; None where nothing has imported it."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    return None if pyplot is None else pyplot.get_fignums()


class TestActivationCurve:
    def test_a_function(self):
        figure = plots.activation_curve("gelu", limits=(-3, 3))
        assert labels(figure) == [("input x", "output f(x)"), ("input x", "slope df/dx")]
        x, y = curve(figure.axes[0], "gelu")
        assert (x[0], x[-1]) == (-3, 3)
        np.testing.assert_allclose(y, x * ndtr(x), atol=1e-6)
        slope = ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
        np.testing.assert_allclose(curve(figure.axes[1], "gelu")[1], slope, atol=1e-6)

    def test_before_and_after_training(self):
        layer = keras_duo.LearnableActivation("tanh")
        layer.set_weights([np.array(2.0), np.array(1.0)])
        figure = plots.activation_curve(keras.layers.Dense(3, activation=layer))
        x, after = curve(figure.axes[0], "after training")
        np.testing.assert_allclose(after, 2 * np.tanh(x) + 1, atol=1e-6)
        np.testing.assert_allclose(
            curve(figure.axes[0], "before training")[1], np.tanh(x), atol=1e-6
        )
        slopes = curve(figure.axes[1], "after training")[1]
        np.testing.assert_allclose(slopes, 2 / np.cosh(x) ** 2, atol=1e-6)

    def test_channels(self):
        layer = keras.layers.PReLU(shared_axes=[1, 2])
        layer.build((None, 6, 6, 40))
        slopes = np.linspace(0, 1, 40)
        layer.set_weights([slopes.reshape(1, 1, 40)])
        output, slope = plots.activation_curve(layer).axes
        assert len(output.lines) == 24 + 2
        x, median = curve(slope, "median of 1440 channels, after")
        np.testing.assert_allclose(median[x != 0], np.where(x > 0, 1, 0.5)[x != 0], atol=1e-6)
        assert [t.get_text() for t in output.get_legend().get_texts()] == [
            "24 of 1440 channels, after",
            "before training",
            "median of 1440 channels, after",
        ]

    def test_channels_that_are_equal_are_one_curve(self):
        layer = keras_duo.LearnableActivation("relu", axis=-1)
        layer.build((None, 40))
        assert len(plots.activation_curve(layer).axes[0].lines) == 2

    @pytest.mark.parametrize(
        ("layer", "match"),
        [
            ("gelo", "`layer` must be a layer, a function"),
            (3, "`layer` must be a layer, a function"),
            (keras_duo.LearnableActivation(axis=-1), "`layer` must have its weights"),
            (keras.ops.sum, "`layer` must keep the shape"),
        ],
        ids=["name", "number", "not built", "sum"],
    )
    def test_what_is_no_activation(self, layer, match):
        with pytest.raises(ValueError, match=match):
            plots.activation_curve(layer)

    def test_limits(self):
        with pytest.raises(ValueError, match="`limits` must be two finite numbers"):
            plots.activation_curve("relu", limits=(1, -1))


def softplus(x):
    return np.logaddexp(0, x)


# loss, what follows it in the legend, value and gradient for label 1
CURVES = [
    ("binary_crossentropy", "sigmoid", lambda z: softplus(-z), lambda z: expit(z) - 1),
    (
        keras.losses.BinaryCrossentropy(from_logits=True),
        "linear (sigmoid in the loss)",
        lambda z: softplus(-z),
        lambda z: expit(z) - 1,
    ),
    (
        keras_duo.Focal(gamma=2.0),
        "sigmoid",
        lambda z: expit(-z) ** 2 * softplus(-z),
        lambda z: -2 * expit(-z) ** 2 * expit(z) * softplus(-z) - expit(-z) ** 3,
    ),
    ("categorical_crossentropy", "softmax", lambda z: softplus(-z), lambda z: expit(z) - 1),
    (
        "sparse_categorical_crossentropy",
        "softmax",
        lambda z: softplus(-z),
        lambda z: expit(z) - 1,
    ),
    (keras_duo.LSGAN(), "linear", lambda z: (z - 1) ** 2 / 2, lambda z: z - 1),
    (keras_duo.Wasserstein(), "linear", lambda z: -z, lambda z: -np.ones_like(z)),
    (keras_duo.RelativisticAverage(), "linear", lambda z: softplus(-z), lambda z: expit(z) - 1),
    ("hinge", "linear", lambda z: np.maximum(1 - z, 0), None),
    ("mse", "linear, target 0", lambda z: z**2, lambda z: 2 * z),
    (keras.losses.Huber(2.0), "linear, target 0", None, lambda z: np.clip(z, -2, 2)),
    (
        keras_duo.Quantile([0.1, 0.9]),
        "linear, target 0",
        lambda z: np.abs(z) / 2,
        lambda z: np.sign(z) / 2,
    ),
    ("poisson", "exponential, target 1", lambda z: np.exp(z) - z, lambda z: np.exp(z) - 1),
    (
        keras_duo.MultiObjective(["MeanSquaredError", "MeanAbsoluteError"], weights=[0.5, 0.5]),
        "linear, target 0",
        lambda z: (z**2 + np.abs(z)) / 2,
        None,
    ),
]


class TestLossCurve:
    @pytest.mark.parametrize(
        ("loss", "partner", "value", "slope"),
        CURVES,
        ids=lambda v: v if isinstance(v, str) else type(v).__name__,
    )
    def test_the_curve_is_the_loss(self, loss, partner, value, slope):
        figure = plots.loss_curve(loss, limits=(-4.0, 4.0))
        (name, *_) = [text.get_text() for text in figure.legends[0].get_texts()]
        assert name.endswith(f" on {partner}")
        left, right = figure.axes
        z, drawn = curve(left, name)
        if value is not None:
            np.testing.assert_allclose(drawn, value(z), rtol=1e-4, atol=1e-5)
        if slope is not None:
            drawn = right.lines[0].get_ydata()
            away = np.abs(z) > 0.01  # kinks
            np.testing.assert_allclose(drawn[away], slope(z)[away], rtol=1e-4, atol=1e-5)

    def test_label_0_is_the_other_line(self):
        left, right = plots.loss_curve("binary_crossentropy").axes
        z, one = left.lines[0].get_data()
        assert (left.lines[0].get_linestyle(), left.lines[1].get_linestyle()) == ("-", "--")
        np.testing.assert_allclose(left.lines[1].get_ydata(), one[::-1], atol=1e-5)
        np.testing.assert_allclose(right.lines[1].get_ydata(), expit(z), atol=1e-5)

    def test_several_losses_in_one_picture(self):
        named = {"plain": "bce", "focal": keras_duo.Focal(), "huber": "huber"}
        figure = plots.loss_curve(named)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [
            "plain on sigmoid",
            "focal on sigmoid",
            "huber on linear, target 0",
            "label 1",
            "label 0",
        ]
        assert labels(figure) == [
            ("logit, score or prediction z", "loss"),
            ("logit, score or prediction z", "gradient d loss / dz"),
        ]
        assert len(figure.axes[1].lines) == 5

    def test_arguments_tell_losses_apart(self):
        figure = plots.loss_curve(
            [keras_duo.Focal(), keras_duo.Focal(gamma=5.0), keras.losses.Huber(2.0)]
        )
        assert [text.get_text() for text in figure.legends[0].get_texts()][:3] == [
            "Focal on sigmoid",
            "Focal(gamma=5) on sigmoid",
            "Huber(delta=2) on linear, target 0",
        ]

    def test_a_learned_loss_beside_cross_entropy(self):
        weights = [0.25, 0.0, 0.75, 0.0, 0.0, 0.0, 0.0]
        learned = keras_duo.LearnedLoss(coefficients=weights)
        figure = plots.loss_curve(["categorical_crossentropy", learned])
        z, drawn = curve(
            figure.axes[0], "LearnedLoss(coefficients=(0.25, 0, 0.75, 0, 0, 0, 0)) on softmax"
        )
        np.testing.assert_allclose(drawn, 0.25 * softplus(-z) + 0.75 * expit(-z), rtol=1e-4)
        network = keras_duo.LearnedLoss("network", task="regression", coefficients=[0.1] * 33)
        figure = plots.loss_curve(network)
        (text,) = figure.legends[0].get_texts()
        assert text.get_text() == (
            "LearnedLoss(form=network, coefficients=33 numbers, task=regression) "
            "on linear, target 0"
        )

    def test_another_activation(self):
        figure = plots.loss_curve("mse", activation="sigmoid")
        z, drawn = curve(figure.axes[0], "mean_squared_error on sigmoid")
        np.testing.assert_allclose(drawn, expit(-z) ** 2, atol=1e-6)

    def test_a_loss_of_the_user(self):
        def cubic(y_true, y_pred):
            return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** 3, axis=-1)

        z, drawn = curve(plots.loss_curve(cubic, "linear").axes[0], "cubic on linear")
        np.testing.assert_allclose(drawn, np.abs(1 - z) ** 3, rtol=1e-5)
        with pytest.raises(ValueError, match="where `activation` is not given"):
            plots.loss_curve(cubic)
        with pytest.raises(ValueError, match="`loss` must give one value an example"):
            plots.loss_curve(lambda t, p: keras.ops.mean(t - p), "linear")

    @pytest.mark.parametrize(
        "loss", [keras_duo.GIoU(), keras_duo.Dice(), keras.losses.CTC(), "cosine_similarity"]
    )
    @pytest.mark.parametrize("activation", [None, "sigmoid"])
    def test_what_has_no_single_logit(self, loss, activation):
        with pytest.raises(ValueError, match="`loss` must judge single outputs, not boxes"):
            plots.loss_curve(loss, activation)

    def test_unknown_names(self):
        with pytest.raises(ValueError, match="`loss` must be a loss, its name"):
            plots.loss_curve("mean_cubed_error")

    def test_the_loss_is_left_as_it_is(self):
        loss = keras_duo.Focal()
        plots.loss_curve(loss)
        assert loss.reduction == "sum_over_batch_size"


class TestActivationHealth:
    HISTORY = {  # noqa: RUF012
        "loss": [3.0, 2.0],
        "gradient/first": [0.1, 0.0],
        "dead/first": [0.0, 0.5],
        "saturated/first": [0.0, 0.0],
        "gradient/last": [1.0, 2.0],
        "gradient_ratio": [0.1, 0.0],
    }

    def test_the_three_axes(self):
        figure = plots.activation_health(self.HISTORY)
        assert labels(figure) == [
            ("epoch", "dead units in %"),
            ("epoch", "saturated outputs in %"),
            ("epoch", "gradient norm of an example"),
        ]
        dead, saturated, gradient = figure.axes
        assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log"]
        np.testing.assert_array_equal(dead.lines[0].get_data(), [[1, 2], [0, 50]])
        np.testing.assert_array_equal(saturated.lines[0].get_data(), [[1, 2], [0, 0]])
        np.testing.assert_array_equal(gradient.lines[1].get_data(), [[1, 2], [1, 2]])
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "last"]

    def test_from_a_monitor_and_from_a_history(self):
        x = np.ones((8, 2), "float32")
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "relu", name="hidden")])
        model.compile("sgd", "mse")
        monitor = keras_duo.ActivationMonitor(x, np.ones((8, 3)), every=1, verbose=False)
        history = model.fit(x, np.ones((8, 3)), 4, 3, verbose=0, callbacks=[monitor])
        epochs, steps = (plots.activation_health(h).axes[2] for h in (history, monitor))
        assert epochs.lines[0].get_xdata().tolist() == [1, 2, 3]
        assert steps.lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
        assert steps.get_xlabel() == "training step"

    def test_a_history_without_a_monitor(self):
        with pytest.raises(ValueError, match=r"under keys such as 'dead/dense'.*\['loss'\]"):
            plots.activation_health({"loss": [1.0]})


def test_the_pictures_can_be_saved(tmp_path):
    figures = [
        plots.activation_curve("relu"),
        plots.loss_curve(["mse", "bce"]),
        plots.activation_health(TestActivationHealth.HISTORY),
    ]
    for number, figure in enumerate(figures):
        assert type(figure) is matplotlib.figure.Figure
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.activation_curve("relu"),
        lambda: plots.loss_curve("mse"),
        lambda: plots.activation_health(TestActivationHealth.HISTORY),
    ],
)
def test_without_matplotlib_the_error_names_the_extra(draw, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "keras-duo\[plots\]"'):
        draw()


class TestTaskWeights:
    def test_a_history_of_epochs(self):
        series = {
            "loss": [2, 1],
            "left_loss": [2.0, 1.0],
            "right_loss": [0.02, 0.01],
            "left_weight": [0.5, 0.1],
            "right_weight": [0.5, 0.9],
            "val_left_weight": [0.5, 0.1],
        }
        figure = plots.task_weights(series)
        assert labels(figure) == [("epoch", "weight"), ("epoch", "loss, before it is weighted")]
        weights, losses = figure.axes
        assert curve(weights, "right")[1].tolist() == [0.5, 0.9]
        assert curve(losses, "left")[1].tolist() == [2.0, 1.0]
        assert len(weights.lines) == len(losses.lines) == 2

    def test_steps_of_a_monitor_and_parts_of_one_output(self):
        series = {"step": [10, 20], "huber": [1.0, 0.5], "huber_weight": [0.2, 0.3]}
        figure = plots.task_weights(series)
        assert figure.axes[0].get_xlabel() == "training step"
        assert curve(figure.axes[1], "huber")[0].tolist() == [10, 20]
        assert curve(figure.axes[1], "huber")[1].tolist() == [1.0, 0.5]

    @pytest.mark.parametrize("history", [{}, {"loss": [1.0]}, None])
    def test_without_weights(self, history):
        with pytest.raises(ValueError, match="`history` must hold the weights of tasks"):
            plots.task_weights(history)
