"""TaskMonitor: what it notes, and when."""

import numpy as np
import pytest

import keras_duo as duo
from tests.models.test_multi_task import X, Y, compiled, fit, network


def test_it_notes_single_steps_that_average_to_the_log_of_the_epoch():
    model, monitor = compiled("inverse"), duo.TaskMonitor(every=1)
    logs = fit(model, epochs=2, batch_size=16, callbacks=[monitor])
    assert monitor.history["step"] == list(range(1, 9))
    for name in Y:
        for kind in ("loss", "weight"):
            noted = np.reshape(monitor.history[f"{name}_{kind}"], (2, 4)).mean(axis=1)
            np.testing.assert_allclose(noted, logs[f"{name}_{kind}"], rtol=1e-5)


def test_it_counts_the_steps_of_one_execution():
    model, monitor = compiled("famo", steps_per_execution=2), duo.TaskMonitor(every=3)
    fit(model, epochs=2, batch_size=16, callbacks=[monitor])
    assert monitor.history["step"] == [4, 6]


def test_another_model_starts_a_new_history():
    monitor = duo.TaskMonitor(every=2)
    for _ in range(2):
        fit(compiled("inverse"), batch_size=16, callbacks=[monitor])
    assert monitor.history["step"] == [2, 4]


def test_it_refuses_what_it_cannot_watch():
    with pytest.raises(ValueError, match=r"`every` must be an integer >= 1.*Received: every=0"):
        duo.TaskMonitor(every=0)
    model = network()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`model` must be a MultiTask"):
        model.fit(X, Y, verbose=0, callbacks=[duo.TaskMonitor()])
