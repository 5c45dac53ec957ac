"""Every promise over every layer of the table."""

import pytest

from tests.contracts.layer_promises import PROMISES
from tests.contracts.table import LAYERS


@pytest.mark.parametrize("case", LAYERS, ids=str)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_layer(promise, case):
    promise(case)
