"""One thread: these models are so small that more of them only wait for each other."""

from __future__ import annotations

import pytest
import torch
import torch.overrides


@pytest.fixture(autouse=True)
def _alone():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(20)
    yield
    torch.set_num_threads(before)
    assert torch.overrides._get_current_function_mode() is None, "a watch was not closed"
