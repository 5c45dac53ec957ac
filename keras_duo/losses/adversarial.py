"""Adversarial losses: a discriminator scores examples, a generator makes the ones it scores.

Each loss has two forms. As a Keras loss it takes labels, 1 for real and 0 for fake, and raw scores.
As a game it has `discriminator_loss(real_output, fake_output)` and `generator_loss(fake_output)`.
The two agree per kind of example, which is how the papers write it:

    discriminator_loss(real, fake) = loss(ones, real) + loss(zeros, fake).

A mean over one batch of equal numbers of both is half of that.
"""

from typing import Annotated, Any, NamedTuple

from keras import ops
from keras.backend import is_float_dtype, standardize_dtype

from keras_duo._register import register
from keras_duo._validate import aligned, number, validated
from keras_duo.losses._function_loss import FunctionLoss
from keras_duo.losses._fused import half_mean_square
from keras_duo.losses._scores import labelled, mixed, raw_score

Target = Annotated[float, number()]
Smoothing = Annotated[float, number(at_least=0, below=1)]


@validated
def lsgan_loss(
    y_true: Any,
    y_pred: Any,
    *,
    fake_target: Target = 0.0,
    real_target: Target = 1.0,
    generator_target: Target = 1.0,
) -> Any:
    """Least squares: (score - real_target)^2 / 2 for real, (score - fake_target)^2 / 2 for fake.

    Args:
        y_true: 1 for real, 0 for fake, shape of `y_pred`. A label between the two mixes the two
            terms in that proportion; outside [0, 1] (such as the coding -1 and 1) the loss is NaN.
        y_pred: Raw scores, (batch, ..., scores); averaged over the last axis.
        fake_target: The score that the discriminator is to give a fake example.
        real_target: The score that it is to give a real one.
        generator_target: The score that the generator aims at; read by `LSGAN.generator_loss` only.

    Returns:
        float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If an argument is not a finite number, or the shapes differ.

    Source:
        Mao et al., Least Squares Generative Adversarial Networks, 2016, arXiv:1611.04076.

    Example:
        >>> from keras_duo.losses import lsgan_loss
        >>> float(lsgan_loss([[1]], [[3.0]])[0])
        2.0
    """
    label, score = labelled(y_true, y_pred)
    target = label * real_target + (1.0 - label) * fake_target
    # What a label between the two adds to the square beside its own target.
    softness = label * (1.0 - label)
    excess = (0.5 * (real_target - fake_target) ** 2) * softness
    return ops.mean(0.5 * ops.square(score - target) + excess, axis=-1)


@validated
def wasserstein_loss(y_true: Any, y_pred: Any) -> Any:
    """Difference of scores: -score for real, +score for fake; may be negative.

    The critic has to be kept Lipschitz, for example by `keras_duo.losses.gradient_penalty`.

    Args:
        y_true: 1 for real, 0 for fake, shape of `y_pred`; other labels as in `lsgan_loss`.
        y_pred: Raw scores, (batch, ..., scores); averaged over the last axis.

    Returns:
        float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If the shapes differ.

    Source:
        Arjovsky et al., Wasserstein GAN, 2017, arXiv:1701.07875.

    Example:
        >>> from keras_duo.losses import wasserstein_loss
        >>> float(wasserstein_loss([[1]], [[3.0]])[0])
        -3.0
    """
    label, score = labelled(y_true, y_pred)
    return mixed(label, -score, score)


@validated
def hinge_gan_loss(y_true: Any, y_pred: Any) -> Any:
    """Hinge: relu(1 - score) for real, relu(1 + score) for fake.

    Args:
        y_true: 1 for real, 0 for fake, shape of `y_pred`; other labels as in `lsgan_loss`.
        y_pred: Raw scores, (batch, ..., scores); averaged over the last axis.

    Returns:
        float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If the shapes differ.

    Source:
        Lim and Ye, Geometric GAN, 2017, arXiv:1705.02894.

    Example:
        >>> from keras_duo.losses import hinge_gan_loss
        >>> float(hinge_gan_loss([[0]], [[3.0]])[0])
        4.0
    """
    label, score = labelled(y_true, y_pred)
    return mixed(label, ops.relu(1.0 - score), ops.relu(1.0 + score))


@validated
def non_saturating_loss(y_true: Any, y_pred: Any, *, label_smoothing: Smoothing = 0.0) -> Any:
    """Cross-entropy of the scores: softplus(-score) for real, softplus(score) for fake.

    Args:
        y_true: 1 for real, 0 for fake, shape of `y_pred`; other labels as in `lsgan_loss`.
        y_pred: Raw scores, (batch, ..., scores); averaged over the last axis.
        label_smoothing: What the target of a real example lacks to 1; in [0, 1). The target of a
            fake one stays 0: smoothing it would reward fakes that are already taken for real.

    Returns:
        float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If `label_smoothing` is out of range, or the shapes differ.

    Source:
        Goodfellow et al., Generative Adversarial Networks, 2014, arXiv:1406.2661; one-sided
        smoothing: Salimans et al., 2016, arXiv:1606.03498.

    Example:
        >>> from keras_duo.losses import non_saturating_loss
        >>> float(non_saturating_loss([[1]], [[0.0]])[0])
        0.6931...
    """
    label, score = labelled(y_true, y_pred)
    # softplus(score) - label * score by one exponential, and nothing cancels: the first two terms
    # are 0 or add up where the last one is small. At 0 its slope is that of the branch taken.
    positive = score > 0
    size, larger = ops.where(positive, -score, score), ops.where(positive, score, 0.0)
    linear = larger - label * (1.0 - label_smoothing) * score
    return ops.mean(linear + ops.log1p(ops.exp(size)), axis=-1)


@validated
def relativistic_average_loss(y_true: Any, y_pred: Any) -> Any:
    """Cross-entropy of a score less the mean score of the other kind.

    softplus(mean fake - score) for real, softplus(score - mean real) for fake. This is the one loss
    that looks across the batch, by its definition: the two means run over every score of the batch,
    weighted by the label. A batch of one kind alone is compared with a mean of 0, which makes it
    `non_saturating_loss`: put real and fake examples into each batch.

    Args:
        y_true: 1 for real, 0 for fake, shape of `y_pred`; other labels as in `lsgan_loss`.
        y_pred: Raw scores, (batch, ..., scores); averaged over the last axis.

    Returns:
        float32 or wider, shape of `y_pred` without the last axis.

    Raises:
        ValueError: If the shapes differ.

    Source:
        Jolicoeur-Martineau, The Relativistic Discriminator, 2018, arXiv:1807.00734.

    Example:
        >>> from keras_duo.losses import relativistic_average_loss
        >>> [float(x) for x in relativistic_average_loss([[1], [0]], [[3.0], [1.0]])]
        [0.1269..., 0.1269...]
    """
    return _relativistic(*labelled(y_true, y_pred), counted=None)


class AdversarialLoss(FunctionLoss):
    """A labelled loss that is a game as well. Both forms compute in float32 or wider."""

    def discriminator_loss(self, real_output: Any, fake_output: Any) -> Any:
        """The mean loss of real scores plus the mean loss of fake scores: a scalar."""
        real, fake = self._output(real_output), self._output(fake_output)
        return ops.mean(self.call(ops.ones_like(real), real)) + ops.mean(
            self.call(ops.zeros_like(fake), fake)
        )

    def generator_loss(self, fake_output: Any, real_output: Any = None) -> Any:
        """The mean loss of the generator: a scalar."""
        return ops.mean(self._wanted(raw_score(self._output(fake_output))))

    def _wanted(self, score: Any) -> Any:
        """What the generator pays for the score of one fake example."""
        raise NotImplementedError


@register
class LSGAN(AdversarialLoss, function=lsgan_loss):
    """Least-squares GAN; output activation of the discriminator: linear.

    The generator pays (score - generator_target)^2 / 2. With the targets -1, 1 and 0 the game
    minimises a Pearson chi^2 divergence.

        loss = keras_duo.LSGAN()
        loss.discriminator_loss(discriminator(real), discriminator(fake))
    """

    def _wanted(self, score: Any) -> Any:
        return 0.5 * ops.square(score - self.generator_target)

    def _short_mean(self, y_true: Any, y_pred: Any) -> Any:
        score = raw_score(y_pred)
        label, score = aligned(ops.cast(y_true, score.dtype), score)
        step = self.real_target - self.fake_target
        target = label if (self.fake_target, step) == (0, 1) else self.fake_target + step * label
        mean = half_mean_square(score - target)
        if is_float_dtype(standardize_dtype(y_true.dtype)):
            # An integer is one of the two, or refused.
            count = ops.cast(ops.size(label), label.dtype)
            softness = ops.divide_no_nan(ops.sum(label), count) - 2.0 * half_mean_square(label)
            mean = mean + 0.5 * step**2 * softness
        known = ops.logical_and(ops.min(label) >= 0, ops.max(label) <= 1)
        return mean * ops.where(known, ops.ones_like(mean), float("nan"))


@register
class Wasserstein(AdversarialLoss, function=wasserstein_loss):
    """Wasserstein GAN; output activation of the critic: linear.

    The generator pays -score.

        loss = keras_duo.Wasserstein()
        d_loss = loss.discriminator_loss(critic(real), critic(fake))
        d_loss += 10.0 * keras_duo.losses.gradient_penalty(critic, real, fake)
    """

    def _wanted(self, score: Any) -> Any:
        return -score


@register
class HingeGAN(AdversarialLoss, function=hinge_gan_loss):
    """Hinge GAN; output activation of the discriminator: linear.

    The generator pays -score.

        loss = keras_duo.HingeGAN()
        loss.generator_loss(discriminator(fake))
    """

    def _wanted(self, score: Any) -> Any:
        return -score


@register
class NonSaturating(AdversarialLoss, function=non_saturating_loss):
    """The first GAN, with the generator loss that does not saturate; output activation: linear.

    The generator pays softplus(-score), never smoothed.

        model.compile("adam", loss=keras_duo.NonSaturating(label_smoothing=0.1))
    """

    def _wanted(self, score: Any) -> Any:
        return ops.softplus(-score)


@register
class RelativisticAverage(AdversarialLoss, function=relativistic_average_loss):
    """Relativistic average GAN; output activation of the discriminator: linear.

    The generator plays the same game with the kinds exchanged, so it needs the real scores too. An
    example that is masked or of weight 0 is left out of the means; other weights do not enter them.
    Under a distribution strategy the means are those of one replica.

        loss = keras_duo.RelativisticAverage()
        loss.generator_loss(discriminator(fake), real_output=discriminator(real))
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One value an example, by the means of the examples that count."""
        if isinstance(y_true, _Counted):
            label, score = labelled(y_true.labels, y_pred)
            return _relativistic(label, score, ops.expand_dims(y_true.counted, -1))
        return super().call(y_true, y_pred)

    def discriminator_loss(self, real_output: Any, fake_output: Any) -> Any:
        """The mean loss of both kinds, each against the mean of the other: a scalar."""
        real, fake = raw_score(self._output(real_output)), raw_score(self._output(fake_output))
        return ops.mean(ops.softplus(ops.mean(fake) - real)) + ops.mean(
            ops.softplus(fake - ops.mean(real))
        )

    def generator_loss(self, fake_output: Any, real_output: Any = None) -> Any:
        """The loss of a discriminator that takes each kind for the other: a scalar."""
        if real_output is None:
            raise ValueError(
                "`real_output` must be given: a relativistic generator is compared with the real "
                "scores. Received: real_output=None"
            )
        return self.discriminator_loss(fake_output, real_output)

    def _blank(self, labels: Any, output: Any, weights: Any) -> tuple[Any, Any]:
        labels, output = super()._blank(labels, output, weights)
        return _Counted(labels, ops.cast(ops.not_equal(weights, 0), self._compute_dtype)), output


class _Counted(NamedTuple):
    """Labels, and 1 or 0 for each example: whether it enters the means over the batch."""

    labels: Any
    counted: Any


def _relativistic(label: Any, score: Any, counted: Any) -> Any:
    real, fake = label, 1.0 - label
    if counted is not None:
        real, fake = counted * real, counted * fake
    mean_real = ops.divide_no_nan(ops.sum(real * score), ops.sum(real))
    mean_fake = ops.divide_no_nan(ops.sum(fake * score), ops.sum(fake))
    values = mixed(label, ops.softplus(mean_fake - score), ops.softplus(score - mean_real))
    # Said again, because XLA on the CPU can take the softplus of NaN for 0.
    return ops.where(ops.any(ops.isnan(label)), float("nan"), values)
