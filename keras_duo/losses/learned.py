"""A loss whose shape was learned: what a `MetaLearner` found, its coefficients in the config."""

from typing import Annotated, Any

from keras_duo._register import register
from keras_duo._validate import choice, number, number_or_sequence, optional, validated
from keras_duo.losses._class_terms import Axis, Flag
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._learned_forms import FORMS, TASKS, formula, known_coefficients, loss_values

Coefficients = Annotated[tuple[float, ...] | None, optional(number_or_sequence())]


@validated
def learned_loss(
    y_true: Any,
    y_pred: Any,
    *,
    form: Annotated[str, choice(*FORMS)] = "mixture",
    coefficients: Coefficients = None,
    task: Annotated[str, choice(*TASKS)] = "classification",
    from_logits: Flag = False,
    scale: Annotated[float, number(above=0)] = 1.0,
    axis: Axis = -1,
) -> Any:
    """A learned function of the likelihood p of the label, which falls to 0 as p rises to 1.

    In a classification p is the probability of the label, sum(y * p_class); in a regression
    exp(-(error / scale)^2) of each number, so that -log p is the squared error. With w = 1 - p:

        mixture: a_0 (-log p) + sum_q a_q (1 - p^q) / q + a_6 w^2, q in {1/2, 1, 2, 4, 8};
                 q = 1 is the mean absolute error, and the a lie on the simplex
        taylor:  -log p + c_1 w + c_2 w^2 + c_3 w^3, with c_k >= -1 / (3 k)
        network: -log p * softplus(MLP(w, s)), s = -log p / (1 - log p), 8 tanh units

    None is below 0, and none has a gradient that vanishes at all predictions.

    Args:
        y_true: One-hot or soft labels that sum to 1 over `axis`; or numbers. Shape of `y_pred`.
        y_pred: Logits, or probabilities (which are normalised), with at least 2 classes on `axis`;
            or predicted numbers.
        form: "mixture", "taylor" or "network".
        coefficients: 7, 3 or 33 numbers, in the order above; of the network the weights of w, of s,
            the biases, the output weights and the output bias. None: -log p alone.
        task: "classification" or "regression".
        from_logits: Whether `y_pred` holds logits rather than probabilities; for classification.
        scale: The error at which p is 1 / e, > 0; for regression. The value, times scale^2, begins
            as error^2 at small errors.
        axis: The axis of the classes; of a regression, the axis to average over.

    Returns:
        float32 or wider, shape of `y_pred` without `axis`.

    Raises:
        ValueError: If an argument is out of range, or the shapes differ.

    Source:
        The powers: Zhang and Sabuncu, Generalized Cross Entropy Loss, 2018, arXiv:1805.07836. The
        polynomial: Gonzalez and Miikkulainen, TaylorGLO, 2020, arXiv:2002.00059. The network:
        Bechtle et al., Meta-Learning via Learned Loss, 2019, arXiv:1906.05374.

    Example:
        >>> from keras_duo.losses import learned_loss
        >>> float(learned_loss([[0, 1, 0]], [[0.1, 0.8, 0.1]])[0])
        0.22314...
    """
    _check(task, from_logits, scale)
    coefficients = known_coefficients(form, coefficients)
    return loss_values(y_true, y_pred, form, coefficients, task, from_logits, axis, scale)


@register
class LearnedLoss(FunctionLoss, function=learned_loss):
    """What a `MetaLearner` found, frozen; output activation: softmax, or linear for a regression.

    It is made by `MetaLearner.to_loss`, or by hand from coefficients; `str` gives its formula.

        loss = keras_duo.LearnedLoss(coefficients=[0.1, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0])
        model.add(keras.layers.Dense(10, activation="softmax"))
        model.compile("adam", loss=loss)
        print(loss)  # 0.1 (-log p) + 0.9 (1 - p), p = probability of the label
    """

    def check_together(self) -> None:
        """The rules that concern more than one argument."""
        _check(self.task, self.from_logits, self.scale)
        known_coefficients(self.form, self.coefficients)

    def __str__(self) -> str:
        text = formula(self.form, known_coefficients(self.form, self.coefficients))
        if self.task == "classification":
            return f"{text}, p = probability of the label"
        error = "error" if self.scale == 1.0 else f"(error / {self.scale:.4g})"
        factor = "" if self.scale == 1.0 else f"{self.scale**2:.4g} * "
        text = f"{factor}({text})" if factor else text
        return f"{text}, p = exp(-{error}^2)"


def _check(task: str, from_logits: bool, scale: float) -> None:
    if task == "regression" and from_logits:
        raise ValueError(
            "`from_logits` must be False in a regression. Received: from_logits=True, "
            "task='regression'"
        )
    if task == "classification" and scale != 1.0:
        raise ValueError(
            f"`scale` must be 1 in a classification. Received: scale={scale}, task='classification'"
        )
