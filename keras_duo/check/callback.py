"""PairCheck: the check as the first thing that a training run does."""

from typing import Any

import keras

from keras_duo.check._examine import check
from keras_duo.check.finding import SEVERITIES, Finding


class PairCheck(keras.callbacks.Callback):
    """Runs `check` when `fit` begins, prints what it finds, and stops a run that cannot succeed.

    Keras shows its callbacks no data. Pass what you pass to `fit`, and the labels and a probe are
    looked at as well; of a dataset the first batch is taken, which counts as one pass over a
    tf.data.Dataset. Without data the model alone is read. The model stays as it is.

    Args:
        x: Inputs, or a dataset, as for `check`.
        y: Labels, as for `check`.
        raise_on: The mildest severity that stops the run: "error", "warning", "advice" or
            "unknown"; None: none does.

    Attributes:
        findings: What the check at the beginning of the last run found.

    Raises:
        ValueError: If `raise_on` is none of these; in `fit`, if there is a finding of that severity
            or a graver one.

    Example:
        >>> import keras, keras_duo, numpy as np
        >>> x, y = np.ones((8, 4)), np.array([[0], [1]] * 4)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
        >>> model.compile("adam", loss="binary_crossentropy")
        >>> history = model.fit(x, y, verbose=0, callbacks=[keras_duo.PairCheck(x, y)])
    """

    def __init__(self, x: Any = None, y: Any = None, raise_on: str | None = "error") -> None:
        super().__init__()
        if raise_on is not None and raise_on not in SEVERITIES:
            raise ValueError(
                f"`raise_on` must be None or one of {SEVERITIES}. Received: raise_on={raise_on!r}"
            )
        self.x, self.y, self.raise_on = x, y, raise_on
        self.findings: list[Finding] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Check the model that `fit` is about to train."""
        self.findings = check(self.model, self.x, self.y)
        if self.raise_on is not None:
            graver = SEVERITIES[: SEVERITIES.index(self.raise_on) + 1]
            stopping = [finding for finding in self.findings if finding.severity in graver]
            if stopping:
                raise ValueError(
                    "The model does not fit what it is trained for:\n"
                    + "\n".join(map(str, stopping))
                )
        for finding in self.findings:
            print(finding)
