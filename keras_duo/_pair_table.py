"""The rows of the table of pairs: which fit for which task and data, and its metrics."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from keras import metrics

from keras_duo import _fits as fits
from keras_duo.metrics import PinballLoss


class Row(NamedTuple):
    """One row: for this task and data, this fit, watched by these metrics."""

    task: str
    data: str
    fit: fits.Fit
    metrics: tuple[Callable[..., metrics.Metric], ...]


_ACCURACY = partial(metrics.BinaryAccuracy, threshold=0.5)
_ROC = partial(metrics.AUC, name="roc_auc")
_PR = partial(metrics.AUC, curve="PR", name="pr_auc")
# Keras compares its binary accuracy with labels 0 and 1 alone; Hinge is right for both codings.
_MARGIN = metrics.Hinge
_ONE_HOT_ACCURACY = metrics.CategoricalAccuracy
_SPARSE_ACCURACY = metrics.SparseCategoricalAccuracy
_MACRO_F1 = partial(metrics.F1Score, average="macro")
_MASK_IOU = partial(metrics.BinaryIoU, target_class_ids=[1], threshold=0.5)
_MAE, _RMSE = metrics.MeanAbsoluteError, metrics.RootMeanSquaredError

# The first row of a task is its default; the first of a task and data is the recommended pair.
ROWS = (
    Row("binary", "balanced", fits.BINARY, (_ACCURACY, _ROC)),
    Row("binary", "balanced", fits.HINGE, (_MARGIN,)),
    Row("binary", "balanced", fits.BOUNDED_HINGE, (_MARGIN,)),
    Row("binary", "imbalanced", fits.FOCAL, (_PR,)),
    Row("binary", "imbalanced", fits.BINARY, (_PR,)),
    Row("single-label", "one-hot", fits.ONE_HOT_CLASSES, (_ONE_HOT_ACCURACY,)),
    Row("single-label", "one-hot", fits.ONE_HOT_FOCAL, (_ONE_HOT_ACCURACY,)),
    Row("single-label", "one-hot", fits.DIVERGENCE, (_ONE_HOT_ACCURACY, metrics.KLDivergence)),
    Row("single-label", "sparse", fits.SPARSE_CLASSES, (_SPARSE_ACCURACY,)),
    Row("single-label", "sparse", fits.SPARSE_FOCAL, (_SPARSE_ACCURACY,)),
    Row("single-label", "soft", fits.SOFT_CLASSES, (_ONE_HOT_ACCURACY, metrics.KLDivergence)),
    Row("single-label", "soft", fits.DIVERGENCE, (_ONE_HOT_ACCURACY, metrics.KLDivergence)),
    Row("single-label", "imbalanced", fits.ONE_HOT_FOCAL, (_MACRO_F1,)),
    Row("single-label", "imbalanced", fits.ONE_HOT_CLASSES, (_MACRO_F1,)),
    Row("single-label", "imbalanced-sparse", fits.SPARSE_FOCAL, (_SPARSE_ACCURACY,)),
    Row("single-label", "imbalanced-sparse", fits.SPARSE_CLASSES, (_SPARSE_ACCURACY,)),
    Row("multi-label", "balanced", fits.BINARY, (_ACCURACY, _ROC)),
    Row("multi-label", "balanced", fits.FOCAL, (_PR,)),
    Row("multi-label", "imbalanced", fits.FOCAL, (_PR,)),
    Row("multi-label", "imbalanced", fits.BINARY, (_PR,)),
    Row("regression", "gaussian", fits.SQUARED, (_MAE, _RMSE)),
    Row("regression", "gaussian", fits.HUBER, (_MAE,)),
    Row("regression", "outliers", fits.HUBER, (_MAE,)),
    Row("regression", "outliers", fits.SQUARED, (_MAE, _RMSE)),
    Row("regression", "bounded", fits.SHARE, (_MAE,)),
    Row("regression", "bounded", fits.SQUARED_SHARE, (_MAE, _RMSE)),
    Row("counts", "any", fits.COUNT, (_MAE,)),
    Row("counts", "any", fits.DAMPED_COUNT, (_MAE,)),
    Row("segmentation", "masks", fits.MASK, (_MASK_IOU,)),
    Row("segmentation", "masks", fits.PIXELS, (_MASK_IOU,)),
    Row("segmentation", "small-objects", fits.SMALL_MASK, (_MASK_IOU,)),
    Row("segmentation", "small-objects", fits.MASK, (_MASK_IOU,)),
    Row("segmentation", "one-hot", fits.CLASS_MASKS, (_ONE_HOT_ACCURACY,)),
    Row("segmentation", "one-hot", fits.CLASS_PIXELS, (_ONE_HOT_ACCURACY,)),
    Row("segmentation", "sparse", fits.ID_MASKS, (_SPARSE_ACCURACY,)),
    Row("segmentation", "sparse", fits.ID_PIXELS, (_SPARSE_ACCURACY,)),
    # Keras has no edit distance, and no other metric of it means anything here.
    Row("sequence", "unaligned", fits.ALIGNMENT, ()),
    Row("detection", "classes", fits.PUBLISHED_FOCAL, (_PR,)),
    Row("detection", "classes", fits.ONE_HOT_FOCAL, (_PR,)),
    Row("detection", "boxes", fits.CIOU, (_MAE,)),
    Row("detection", "boxes", fits.GIOU, (_MAE,)),
    Row("quantile", "any", fits.QUANTILE, (partial(PinballLoss, quantiles=0.5),)),
    Row("quantile", "any", fits.ABSOLUTE, (_MAE,)),
    Row("generation", "any", fits.LEAST_SQUARES_GAN, (_ACCURACY,)),
    Row("generation", "any", fits.WASSERSTEIN, (_ACCURACY,)),
)
# Keys are without separators, as `pairs` compares them.
TASK_ALIASES = {
    "multiclass": "single-label",
    "count": "counts",
    "ctc": "sequence",
    "objectdetection": "detection",
    "quantileforecast": "quantile",
}
DATA_ALIASES = {"integer": "sparse"}
