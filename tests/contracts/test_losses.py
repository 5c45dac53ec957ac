"""Every promise over every loss of the table."""

import pytest

from tests.contracts.loss_promises import PROMISES
from tests.contracts.table import LOSSES


@pytest.mark.parametrize("case", LOSSES, ids=str)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_loss(promise, case):
    promise(case)
