"""Two devices give the numbers of one; what is asked for wrongly says so. Devices are made in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from verax import distribution
from verax.errors import InputError, ShapeError, StateError, UnknownNameError

PROGRAM = """
import json, numpy as np, jax, verax
from verax import distribution as D, layers
x = np.random.default_rng(0).normal(size=(53, 6)).astype("f")
y = np.random.default_rng(1).integers(0, 3, 53)

def run(way):
    verax.utils.set_random_seed(3)
    verax.utils.clear_session()
    D.set_distribution(way)
    model = verax.Sequential([verax.Input((6,)), layers.Dense(8, "relu"), layers.BatchNormalization(),
                              layers.Dropout(0.3), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    first = model.predict(x, verbose=0)
    history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, validation_data=(x, y)).history
    on = [len(w.value.devices()) for w in model.weights]
    kernel = model.layers[0].kernel.value
    shards = sorted({s.data.shape for s in kernel.addressable_shards})
    model.fit(((x[i:i + 8], y[i:i + 8]) for i in range(0, 48, 8)), verbose=0)
    found = [w.tolist() for w in model.get_weights()]
    answers = model.predict(x, verbose=0).tolist()
    programs = str(jax.make_jaxpr(lambda: 0)())
    D.set_distribution(None)
    model.evaluate(x, y, verbose=0)
    return dict(first=first.tolist(), history=history, weights=found, answers=answers, on=on, shards=shards)

mesh = D.DeviceMesh((1, 2), ["batch", "model"])
layouts = D.LayoutMap(mesh)
layouts["dense/kernel"] = (None, "model")
ways = {"one": None, "data": D.DataParallel(), "model": D.ModelParallel(layout_map=layouts)}
found = {name: run(way) for name, way in ways.items()}
with ways["data"].scope():
    rows = D.distribute_tensor(np.arange(4.0), D.TensorLayout(["batch"], ways["data"].device_mesh))
found["devices"] = D.list_devices()
found["rows"] = [s.data.tolist() for s in rows.addressable_shards]
found["program"] = "all-reduce" in jax.jit(lambda a: a.sum()).lower(rows).compile().as_text()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    flags = "--xla_force_host_platform_device_count=2"
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env={**os.environ, "XLA_FLAGS": flags}
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("way", ["data", "model"])
def test_fit_evaluate_and_predict_give_the_numbers_of_one_device(found, way):
    one, two = found["one"], found[way]
    assert set(one["on"]) == {1}
    assert set(two["on"]) == {2}
    for name, numbers in one["history"].items():
        np.testing.assert_allclose(two["history"][name], numbers, rtol=1e-5)
    for a, b in zip(two["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for name in ("first", "answers"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6)


def test_weights_are_whole_or_divided_as_asked(found):
    assert found["data"]["shards"] == [[6, 8]]
    assert found["model"]["shards"] == [[6, 4]]


def test_rows_are_divided(found):
    assert found["devices"] == ["cpu:0", "cpu:1"]
    assert found["rows"] == [[0.0, 1.0], [2.0, 3.0]]
    assert found["program"]


def one_device():
    return distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])


def test_names_and_layouts():
    assert distribution.get_device_count("cpu") == len(distribution.list_devices("cpu"))
    mesh = one_device()
    layouts = distribution.LayoutMap(mesh)
    layouts["a.*/kernel"] = ("model", None)
    layouts["b/kernel"] = distribution.TensorLayout([None, "model"])
    assert layouts["anything/kernel"].axes == ("model", None)
    assert layouts["b/kernel"].device_mesh is mesh
    assert layouts["nothing"] is None
    assert list(layouts) == ["a.*/kernel", "b/kernel"]
    way = distribution.ModelParallel(layout_map=layouts, batch_dim_name="model")
    assert way.get_data_layout((8, 3)).axes == ("model", None)
    assert distribution.distribution() is None
    with way.scope():
        assert distribution.distribution() is way
    assert distribution.distribution() is None
    del layouts["b/kernel"]
    assert len(layouts) == 1


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: distribution.DeviceMesh((2,), ["a", "b"], ["cpu:0"]), ShapeError, "a size and a name"),
        (lambda: distribution.DeviceMesh((3,), ["a"], ["cpu:0"]), ShapeError, "3 places"),
        (lambda: distribution.DeviceMesh((1,), ["a"], ["cpu:77"]), UnknownNameError, "cpu:0"),
        (lambda: distribution.TensorLayout(["modle"], one_device()), UnknownNameError, "model"),
        (lambda: distribution.TensorLayout(["model"]).backend_layout, StateError, "no mesh"),
        (lambda: distribution.ModelParallel(layout_map={}), InputError, "LayoutMap"),
        (lambda: distribution.Distribution(one_device(), "rows"), UnknownNameError, "batch"),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_a_layout_map_refuses_what_it_cannot_mean():
    layouts = distribution.LayoutMap(one_device())
    layouts["d.*"] = (None, "model")
    with pytest.raises(InputError, match="has one"):
        layouts["d.*"] = (None, "model")
    with pytest.raises(InputError, match="by the compiler"):
        layouts["dense/output"] = ("batch", None)
    with pytest.raises(InputError, match="TensorLayout"):
        layouts["e"] = 3
    layouts[".*kernel"] = (None, None)
    with pytest.raises(InputError, match="2 patterns"):
        layouts["dense/kernel"]
