"""ONNX, where jax2onnx is installed; and what is said where it is not."""

from __future__ import annotations

import importlib.util

import jax
import numpy as np
import pytest

import verax
from tests.export.test_exported import by_name, half, images, pairs, sentences
from verax.errors import MissingExtraError, UnknownNameError
from verax.export import onnx


def test_without_jax2onnx(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"verax\[onnx\].*orbax-checkpoint below 0\.11\.37"):
        by_name()[0].export(tmp_path / "a.onnx", format="onnx")


def test_options(tmp_path):
    with pytest.raises(UnknownNameError, match="opset_version"):
        by_name()[0].export(tmp_path / "a.onnx", format="onnx", platforms=("cpu",))


@pytest.mark.skipif(importlib.util.find_spec("jax2onnx") is None, reason="jax2onnx does not install beside orbax")
@pytest.mark.parametrize("make", [images, sentences, pairs, by_name, half])
def test_onnx_runtime_predicts_the_same(make, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model, x = make()
    if make is half:
        model = verax.Sequential([verax.Input((4,)), verax.layers.Dense(3)])
    model.export(tmp_path / "a.onnx", format="onnx", verbose=False)
    session = runtime.InferenceSession(str(tmp_path / "a.onnx"))
    for rows in (21, 2):
        part = jax.tree.map(lambda a, rows=rows: a[:rows], x)
        feed = dict(zip([i.name for i in session.get_inputs()], jax.tree.leaves(part), strict=True))
        want = jax.tree.leaves(model.predict(part, verbose=0))
        for a, b in zip(want, session.run(None, feed), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
