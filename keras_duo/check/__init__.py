"""check: the pair that does not fit, found before it costs a training run.

`check(model)` reads the graph and the compiled loss, `check(model, x, y)` also looks at the labels
and runs a probe. `CODES` names every finding with its severities; `docs/check.md` explains them.
"""

from keras_duo.check._codes import CODES
from keras_duo.check._examine import check
from keras_duo.check.callback import PairCheck
from keras_duo.check.finding import SEVERITIES, Finding

__all__ = ["CODES", "SEVERITIES", "Finding", "PairCheck", "check"]
