"""Keras on PyTorch and on TensorFlow: the same causes, or an honest lower grade; runs where they are installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@cache
def results(backend: str) -> Any:
    if importlib.util.find_spec({"torch": "torch", "tensorflow": "tensorflow"}[backend]) is None:
        pytest.skip(f"{backend} is not installed")
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.keras_watch.on_backend"]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def test_on_pytorch_every_cause_is_separated():
    found = results("torch")
    assert found["same"]
    for name, one in found["found"].items():
        assert one["residual"], name
        assert one["grade"] == "full", name
        assert one["none"] if one["wanted"] is None else (one["largest"], one["sign"]) == (one["wanted"], True), name


def test_on_tensorflow_what_is_not_seen_is_said():
    found = results("tensorflow")
    assert found["same"]
    for name, one in found["found"].items():
        assert one["residual"], name
        right = one["none"] if one["wanted"] is None else (one["largest"], one["sign"]) == (one["wanted"], True)
        assert right or "does not show its steps one by one" in one["grade"], (name, one)
