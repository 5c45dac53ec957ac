"""Ways to build an output of three units: linear, sigmoid or softmax over the last axis."""

import functools

import keras
import numpy as np
from keras import layers, ops

from keras_duo import check

UNITS = 3
FUNCTIONS = {"linear": None, "sigmoid": ops.sigmoid, "softmax": ops.softmax}


@keras.saving.register_keras_serializable(package="tests")
class OwnLayer(layers.Layer):
    """A layer that nobody knows."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, x):
        return keras.activations.get(self.kind)(x)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package="tests")
class OwnModel(keras.Model):
    """A model with a `call` of its own."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.head = layers.Dense(UNITS, activation=kind)

    def call(self, x):
        return self.head(x)

    def get_config(self):
        return {"kind": self.kind}


@keras.saving.register_keras_serializable(package="tests")
class Extended(keras.Model):
    """A Functional model by inheritance: the graph is there."""


def dense(kind):
    return layers.Dense(UNITS, activation=kind)


def functional(*steps, shape=(4,)):
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


def activation_layer(kind):
    return layers.Softmax() if kind == "softmax" else layers.Activation(kind)


def with_mask(kind):
    inputs = keras.Input((5, 4))
    x = layers.Masking()(inputs)
    return keras.Model(inputs, layers.Dense(UNITS, kind)(layers.LSTM(6, return_sequences=True)(x)))


def masked_softmax(kind):
    inputs, mask = keras.Input((4,)), keras.Input((UNITS,), dtype="bool")
    x = layers.Dense(UNITS)(inputs)
    if kind == "softmax":
        x = layers.Softmax()(x, mask=mask)
    elif kind == "sigmoid":
        x = layers.Activation("sigmoid")(x)
    return keras.Model([inputs, mask], x)


def nested(kind, outer=functional):
    return outer(functional(layers.Dense(4, "relu")), functional(dense(kind)))


def nested_sequential(kind):
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu"), dense(kind)])
    return keras.Sequential([keras.Input((4,)), inner])


def nested_with_two_inputs(kind):
    inputs = keras.Input((4,)), keras.Input((4,))
    a, b = keras.Input((UNITS,)), keras.Input((4,))
    inner = keras.Model([a, b], [layers.Dropout(0.1)(a), layers.Dense(2)(b)])
    output, _ = inner([dense(kind)(inputs[0]), inputs[1]])
    return keras.Model(inputs, output)


def shared_layer(kind):
    inputs = keras.Input((4,))
    head = layers.Activation(kind)
    head(inputs)
    return keras.Model(inputs, head(layers.Dense(UNITS)(inputs)))


def residual(kind):
    inputs = keras.Input((UNITS,))
    total = layers.Add()([inputs, layers.Dense(UNITS)(layers.Dense(UNITS, "relu")(inputs))])
    return keras.Model(inputs, layers.Activation(kind)(total))


def joined(kind):
    inputs = keras.Input((4,))
    if kind == "softmax":
        parts = [layers.Dense(1)(inputs), layers.Dense(2)(inputs)]
        return keras.Model(inputs, layers.Softmax()(layers.Concatenate()(parts)))
    parts = [layers.Dense(1, kind)(inputs), layers.Dense(2, kind)(inputs)]
    return keras.Model(inputs, layers.Concatenate()(parts))


def mixed_precision(kind):
    return functional(
        layers.Dense(4, "relu", dtype="mixed_float16"),
        layers.Dense(UNITS, activation=kind, dtype="float32"),
    )


def second_output(kind):
    inputs = keras.Input((4,))
    return keras.Model(inputs, [layers.Dense(1, name="first")(inputs), dense(kind)(inputs)])


def dictionary(kind):
    inputs = keras.Input((4,))
    outputs = {"first": layers.Dense(1)(inputs), "second": dense(kind)(inputs)}
    return keras.Model(inputs, outputs)


def extended(kind):
    inputs = keras.Input((4,))
    return Extended(inputs, dense(kind)(inputs))


def own_model(kind):
    model = OwnModel(kind)
    model(np.zeros((1, 4), "float32"))
    return model


def operation(kind):
    function = FUNCTIONS[kind]
    return functional(layers.Dense(UNITS), *([function] if function else []))


def image(*then):
    return lambda kind: functional(layers.Conv2D(UNITS, 1, activation=kind), *then, shape=(4, 4, 2))


READABLE = {
    "activation argument": lambda kind: functional(dense(kind)),
    "activation function": lambda kind: functional(
        layers.Dense(UNITS, activation=keras.activations.get(kind))
    ),
    "Activation layer": lambda kind: functional(layers.Dense(UNITS), layers.Activation(kind)),
    "layer of the activation": lambda kind: functional(layers.Dense(UNITS), activation_layer(kind)),
    "keras.ops": operation,
    "Sequential": lambda kind: keras.Sequential([keras.Input((4,)), dense(kind)]),
    "Sequential without Input": lambda kind: _built(keras.Sequential([dense(kind)])),
    "subclass of a Functional model": extended,
    "nested Functional": nested,
    "nested Sequential": nested_sequential,
    "nested, one input of two": nested_with_two_inputs,
    "shared layer": shared_layer,
    "TimeDistributed": lambda kind: functional(layers.TimeDistributed(dense(kind)), shape=(5, 4)),
    "TimeDistributed model": lambda kind: functional(
        layers.TimeDistributed(functional(dense(kind))), shape=(5, 4)
    ),
    "EinsumDense": lambda kind: functional(
        layers.EinsumDense("ab,bc->ac", output_shape=UNITS, activation=kind)
    ),
    "SimpleRNN": lambda kind: functional(
        layers.SimpleRNN(UNITS, activation=kind, return_sequences=True), shape=(5, 4)
    ),
    "SpectralNormalization": lambda kind: functional(layers.SpectralNormalization(dense(kind))),
    "Conv2D": image(),
    "Conv2D and GlobalAveragePooling2D": image(layers.GlobalAveragePooling2D()),
    "Conv2D and UpSampling2D": image(layers.UpSampling2D(2)),
    "Conv2D and Reshape": image(layers.Reshape((16, UNITS))),
    "Dropout and Identity": lambda kind: functional(
        dense(kind), layers.Dropout(0.1), layers.Identity(), layers.Activation("linear")
    ),
    "Reshape": lambda kind: functional(layers.Dense(4), dense(kind), layers.Reshape((1, UNITS))),
    "Flatten": lambda kind: functional(dense(kind), layers.Flatten()),
    "cast": lambda kind: functional(dense(kind), lambda x: ops.cast(x, "float64")),
    "mask": with_mask,
    "softmax with a mask": masked_softmax,
    "residual sum": residual,
    "Concatenate": joined,
    "mixed precision, float32 at the end": mixed_precision,
    "one of two outputs": second_output,
    "one of a dictionary of outputs": dictionary,
}
UNREADABLE = {
    "layer of one's own": lambda kind: functional(layers.Dense(UNITS), OwnLayer(kind)),
    "model with a call of its own": own_model,
    "nested model with a call of its own": lambda kind: functional(OwnModel(kind)),
    "arithmetic": lambda kind: functional(layers.Dense(UNITS, "tanh"), lambda x: 0.5 + 0.5 * x),
    "fixed weights": lambda kind: functional(dense(kind), layers.Dense(UNITS, trainable=False)),
}


def codes(model, loss="the compiled one", *data):
    """The codes of the findings about a model, compiled with this loss if one is given."""
    if loss != "the compiled one":
        model.compile("sgd", loss=loss)
    return [finding.code for finding in check(model, *data)]


def _built(model):
    model.build((None, 4))
    return model


@functools.cache
def built(name, kind):
    return {**READABLE, **UNREADABLE}[name](kind)
