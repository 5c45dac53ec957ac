"""Which weights: pure functions of the losses of the tasks, or of the Gramian of their gradients.

How the weights are applied is the business of `MultiObjective` and `MultiTask`.
"""

from keras_duo.weightings._aligned_mtl import aligned_mtl
from keras_duo.weightings._balanced import balanced
from keras_duo.weightings._cagrad import cagrad
from keras_duo.weightings._dwa import dwa, dwa_start
from keras_duo.weightings._famo import famo, famo_start
from keras_duo.weightings._fixed import fixed
from keras_duo.weightings._gradnorm import gradnorm, gradnorm_start
from keras_duo.weightings._imtl_g import imtl_g
from keras_duo.weightings._inverse import inverse
from keras_duo.weightings._mgda import mgda
from keras_duo.weightings._nash import nash
from keras_duo.weightings._pcgrad import pcgrad
from keras_duo.weightings._random import random
from keras_duo.weightings._uncertainty import uncertainty, uncertainty_objective
from keras_duo.weightings._upgrad import upgrad

__all__ = [
    "aligned_mtl",
    "balanced",
    "cagrad",
    "dwa",
    "dwa_start",
    "famo",
    "famo_start",
    "fixed",
    "gradnorm",
    "gradnorm_start",
    "imtl_g",
    "inverse",
    "mgda",
    "nash",
    "pcgrad",
    "random",
    "uncertainty",
    "uncertainty_objective",
    "upgrad",
]
