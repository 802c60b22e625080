"""The room's names: what is importable is what is listed."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

import verax
import verax.torch

MODULES = sorted(p.stem for p in Path(str(verax.torch.__file__)).parent.glob("*.py") if p.stem != "__init__")


def test_every_public_name_resolves_and_is_documented():
    for name in verax.torch.__all__:
        assert inspect.getdoc(getattr(verax.torch, name))
    assert dir(verax.torch) == sorted(verax.torch.__all__)


@pytest.mark.parametrize("stem", MODULES)
def test_every_module_lists_what_others_take_from_it(stem: str):
    module = importlib.import_module(f"verax.torch.{stem}")
    assert all(hasattr(module, name) for name in module.__all__)
    assert module.__doc__


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'wach'"):
        verax.torch.wach
