"""Losses: a pure function on `keras.ops` each, and the registered Keras class around it."""

from keras_duo.losses.adversarial import (
    LSGAN,
    HingeGAN,
    NonSaturating,
    RelativisticAverage,
    Wasserstein,
    hinge_gan_loss,
    lsgan_loss,
    non_saturating_loss,
    relativistic_average_loss,
    wasserstein_loss,
)
from keras_duo.losses.boxes import (
    CIoU,
    DIoU,
    GIoU,
    IoU,
    ciou_loss,
    diou_loss,
    giou_loss,
    iou_loss,
)
from keras_duo.losses.focal import (
    CategoricalFocal,
    Focal,
    SparseCategoricalFocal,
    categorical_focal_loss,
    focal_loss,
    sparse_categorical_focal_loss,
)
from keras_duo.losses.learned import LearnedLoss, learned_loss
from keras_duo.losses.multi_objective import LossMean, MultiObjective, ObjectiveWeight
from keras_duo.losses.overlap import (
    Dice,
    FocalTversky,
    Tversky,
    dice_loss,
    focal_tversky_loss,
    tversky_loss,
)
from keras_duo.losses.penalties import (
    gradient_penalty,
    r1_penalty,
)
from keras_duo.losses.quantile import Quantile, quantile_loss
from keras_duo.losses.robust import (
    AsymmetricFocal,
    PolyCrossEntropy,
    SymmetricCrossEntropy,
    asymmetric_focal_loss,
    poly_cross_entropy_loss,
    symmetric_cross_entropy_loss,
)

__all__ = [
    "LSGAN",
    "AsymmetricFocal",
    "CIoU",
    "CategoricalFocal",
    "DIoU",
    "Dice",
    "Focal",
    "FocalTversky",
    "GIoU",
    "HingeGAN",
    "IoU",
    "LearnedLoss",
    "LossMean",
    "MultiObjective",
    "NonSaturating",
    "ObjectiveWeight",
    "PolyCrossEntropy",
    "Quantile",
    "RelativisticAverage",
    "SparseCategoricalFocal",
    "SymmetricCrossEntropy",
    "Tversky",
    "Wasserstein",
    "asymmetric_focal_loss",
    "categorical_focal_loss",
    "ciou_loss",
    "dice_loss",
    "diou_loss",
    "focal_loss",
    "focal_tversky_loss",
    "giou_loss",
    "gradient_penalty",
    "hinge_gan_loss",
    "iou_loss",
    "learned_loss",
    "lsgan_loss",
    "non_saturating_loss",
    "poly_cross_entropy_loss",
    "quantile_loss",
    "r1_penalty",
    "relativistic_average_loss",
    "sparse_categorical_focal_loss",
    "symmetric_cross_entropy_loss",
    "tversky_loss",
    "wasserstein_loss",
]
