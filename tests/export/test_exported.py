"""Exported models predict what the model does: every structure, dtype and open size; and say so where they cannot."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import verax
from tests.kernels import kernels
from verax.errors import (
    DataError,
    DtypeError,
    InputError,
    MissingExtraError,
    NotBuiltError,
    ShapeError,
    StateError,
    UnknownNameError,
)
from verax.export import programs
from verax.export.signature import Leaf
from verax.layers import (
    LSTM,
    Add,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    LayerNormalization,
    MaxPooling2D,
    MultiHeadAttention,
    Rescaling,
    UpSampling2D,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.verax"


def exported(model, path, **options):
    model.export(path, verbose=False, **options)
    return verax.load_exported(path)


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, two in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


def close(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, two in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def images():
    model = verax.Sequential(
        [
            verax.Input((8, 8, 3), dtype="uint8", name="image"),
            Rescaling(1 / 255.0),
            Conv2D(4, 3, activation="relu"),
            BatchNormalization(),
            MaxPooling2D(),
            Flatten(),
            Dropout(0.5),
            Dense(3, activation="softmax"),
        ],
        name="images",
    )
    x = np.random.default_rng(0).integers(0, 256, (21, 8, 8, 3)).astype("uint8")
    return model, x


def sentences():
    tokens = verax.Input((None,), dtype="int32", name="tokens")
    h = Embedding(30, 8, mask_zero=True)(tokens)
    h = LayerNormalization()(h + MultiHeadAttention(2, 4)(h, h))
    model = verax.Model(tokens, {"topic": Dense(3)(GlobalAveragePooling1D()(h)), "states": h})
    return model, np.random.default_rng(0).integers(0, 30, (21, 6)).astype("int32")


def pairs():
    a, b = verax.Input((None, 3), name="a"), verax.Input((None, 3), name="b")
    model = verax.Model([a, b], [Add()([a, b]), Dense(2)(a)])
    return model, list(np.random.default_rng(0).normal(size=(2, 21, 5, 3)).astype("float32"))


def by_name():
    a, b = verax.Input((3,), name="a"), verax.Input((2,), name="b")
    model = verax.Model({"a": a, "b": b}, Dense(2)(Concatenate()([a, b])))
    rng = np.random.default_rng(0)
    return model, {"b": rng.normal(size=(21, 2)).astype("float32"), "a": rng.normal(size=(21, 3)).astype("float32")}


def recurrent():
    model = verax.Sequential([verax.Input((None,)), Embedding(20, 4, mask_zero=True), LSTM(5), Dense(2)])
    return model, np.random.default_rng(0).integers(0, 20, (21, 7))


def half():
    model = verax.Sequential([verax.Input((4,)), Dense(8, "relu", dtype="mixed_bfloat16"), Dense(3, dtype="bfloat16")])
    return model, np.random.default_rng(0).normal(size=(21, 4)).astype("float32")


@pytest.mark.parametrize("make", [images, sentences, pairs, by_name, recurrent, half])
@pytest.mark.parametrize("batch_size", [None, 4])
def test_predictions_are_the_models_bit_for_bit(make, batch_size, path):
    model, x = make()
    want = model.predict(x, batch_size=batch_size, verbose=0)
    equal(want, exported(model, path).predict(x, batch_size))


def test_one_program_serves_batches_of_any_size(path):
    model, x = images()
    served = exported(model, path)
    for rows in (1, 2, 21):
        close(np.asarray(served(x[:rows])), model.predict(x[:rows], verbose=0))


def test_a_trained_model_serves_its_averages(path):
    model, x = images()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, np.arange(21) % 3, epochs=2, verbose=0)
    equal(model.predict(x, verbose=0), exported(model, path).predict(x))


def test_it_is_a_function_of_jax(path):
    model, x = by_name()
    served = exported(model, path)
    inside = jax.jit(lambda x: 2.0 * served(x))(x)
    close(np.asarray(inside), 2 * model.predict(x, verbose=0))


def test_image_sizes_stay_open(path):
    x = verax.Input((None, None, 3))
    a = Conv2D(4, 3, strides=2, padding="same")(x)
    b = UpSampling2D()(MaxPooling2D(3, 2, padding="same")(a))
    y = Dense(2)(GlobalAveragePooling2D()(Concatenate()([a, b])))
    model = verax.Model(x, y)
    served = exported(model, path)
    bounds = served.inputs["open"]
    assert bounds["1"]["multiple"] > 1  # else the halves, doubled, do not fit
    for sizes in ((32, 64), (64, 32)):
        rows = np.random.default_rng(0).normal(size=(3, *sizes, 3)).astype("float32")
        close(model.predict(rows, verbose=0), served.predict(rows))
    with pytest.raises(ShapeError, match=r"axis 2 has at least \d+, a multiple of"):
        served(np.ones((1, 64, 33, 3), "float32"))


def test_a_least_size_is_found_and_said(path):
    model = verax.Sequential([verax.Input((None, None, 1)), MaxPooling2D(2), Conv2D(2, 3), GlobalAveragePooling2D()])
    served = exported(model, path)
    assert ">=8" in repr(served)
    close(model.predict(np.ones((2, 9, 14, 1)), verbose=0), served.predict(np.ones((2, 9, 14, 1))))
    with pytest.raises(ShapeError, match="at least 8"):
        served(np.ones((1, 7, 9, 1)))


def test_inputs_that_must_agree_are_one_size(path):
    model, x = pairs()
    served = exported(model, path)
    with pytest.raises(ShapeError, match="both were exported as one size"):
        served([x[0][:, :2], x[1]])


def test_another_signature(path):
    model = verax.Sequential([verax.Input((4,)), Dense(2)])
    for signature in (
        verax.InputSpec("int32", (None, 4)),
        [verax.InputSpec("int32", (None, 4))],
        verax.KerasTensor((None, 4), "int32"),
        jnp.ones((2, 4), "int32"),
        np.ones((2, 4), "int32"),
    ):
        served = exported(model, path, input_signature=signature)
        assert (served.inputs["shape"], served.inputs["dtype"]) == ([None, 4], "int32")
    fixed = exported(model, path, input_signature=verax.InputSpec("float32", (3, 4)))
    close(model.predict(np.ones((6, 4)), verbose=0), fixed.predict(np.ones((6, 4))))
    with pytest.raises(ShapeError, match=r"takes input_layer \(3, 4\)"):
        fixed.predict(np.ones((4, 4)))


class Twice(verax.Model):
    def __init__(self):
        super().__init__()
        self.dense = Dense(2)

    def call(self, x):
        return {"once": self.dense(x), "pair": (self.dense(2 * x), [x])}


def test_a_subclassed_model_without_its_code(path, tmp_path):
    model = Twice()
    with pytest.raises(NotBuiltError, match="has not seen an input"):
        model.export(path)
    model.export(path, verbose=False, input_signature=verax.InputSpec("float32", (None, 3)))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, verax\n"
        "y = verax.load_exported(sys.argv[1]).predict(np.load(sys.argv[2]))\n"
        "np.savez(sys.argv[3], once=y['once'], pair=y['pair'][0], x=y['pair'][1][0])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "x.npy"), str(tmp_path / "y.npz")], check=True
    )
    want = model.predict(x, verbose=0)
    got = np.load(tmp_path / "y.npz")
    close([want["once"], want["pair"][0], want["pair"][1][0]], [got["once"], got["pair"], got["x"]])


def test_what_it_says_of_itself(path, capsys):
    model, _ = images()
    model.export(path)
    assert (
        "serve: image (None, 8, 8, 3) uint8 -> images (None, 3) float32, for cpu, cuda, tpu" in capsys.readouterr().out
    )
    served = verax.load_exported(path)
    assert served.outputs["name"] == "images"
    assert served.description["writer"]["verax"] == verax.__version__
    (outline,) = served.description["models"]
    assert outline["parameters"] == sum(int(np.prod(w.shape)) for w in model.weights)
    assert outline["preprocessing"][0]["config"]["scale"] == pytest.approx(1 / 255)
    assert repr(served).endswith("serve: image (None, 8, 8, 3) uint8 -> images (None, 3) float32>")


@kernels(True)
def test_platforms_and_kernels(path):
    model, x = images()
    served = exported(model, path)
    assert sorted(served.endpoints["serve"].platforms) == ["cpu", "cpu", "cuda", "tpu"]
    assert [p["kernels"] for p in served.description["endpoints"]["serve"]["programs"]] == ["fast", "plain"]
    with kernels(False):
        plain = exported(model, path, platforms="cpu")
        equal(model.predict(x, verbose=0), plain.predict(x))
    assert [p["kernels"] for p in plain.description["endpoints"]["serve"]["programs"]] == ["plain"]
    model.export(path, platforms=("tpu",), verbose=False)
    with pytest.raises(StateError, match="this process runs on cpu"):
        verax.load_exported(path)


@kernels(True)
def test_the_fast_program_is_another_one():
    model, _ = images()
    leaf = Leaf("image", (None, 8, 8, 3), "uint8")
    run = verax.pure(model)
    params, state = verax.values(model)
    found = programs.programs_of(
        lambda w, x, seed: [run(params, state, x[0], mode="infer")[0]], [], [leaf], ("cpu", "tpu"), "asked"
    )
    texts = [jax_export.deserialize(bytearray(p.data)).mlir_module() for p in found]
    assert [p.platforms for p in found] == [("cpu",), ("cpu", "tpu")]
    assert "reduce_window" not in texts[0]
    assert "reduce_window" in texts[1]


class Noisy(verax.Layer):
    def call(self, x):
        return x + jax.random.normal(self.draw_key(), x.shape, x.dtype)


def test_draws_in_inference_are_decided_by_a_seed(path):
    served = exported(verax.Sequential([verax.Input((4,)), Noisy()]), path)
    assert served.endpoints["serve"].draws
    x = np.zeros((3, 4), "float32")
    assert np.array_equal(served(x, seed=1), served(x, seed=1))
    assert not np.array_equal(served(x, seed=1), served(x, seed=2))


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "model.verax"
    a, b = verax.Input((3,), dtype="int32", name="a"), verax.Input((1,), name="b")
    model = verax.Model([a, b], Dense(2)(Concatenate()([verax.ops.cast(a, "float32"), b])))
    return exported(model, path)


def test_inputs_are_checked_and_cast(served):
    a, b = np.ones((2, 3)), np.ones((2, 1))
    want = np.asarray(served([a.astype("int32"), b]))
    for given in (
        [a.astype("int64"), b],
        [a.astype("uint8"), b[:, 0]],
        {"b": b.astype("int32"), "a": a.astype("int8")},
    ):
        np.testing.assert_array_equal(served(given), want)
    with pytest.raises(DtypeError, match="fractions would be cut off"):
        served([a, b])
    with pytest.raises(DtypeError, match="TextVectorization"):
        served([np.array([["x"] * 3]), b])
    with pytest.raises(DataError, match="with values from 1 to 5000000000"):
        served([np.array([[1, 2, 5_000_000_000]]), b])
    with pytest.raises(ShapeError, match="takes a \\(None, 3\\) int32"):
        served([np.ones((2, 4), "int32"), b])
    with pytest.raises(ShapeError, match="a list of 2 arrays"):
        served(b)
    with pytest.raises(DataError, match="Add 'b'"):
        served({"a": b})
    with pytest.raises(ShapeError, match="it takes 1"):
        served(a, b)
    with pytest.raises(DataError, match="as many rows"):
        served.predict([np.ones((2, 3), "int32"), np.ones((3, 1))])
    with pytest.raises(DataError, match="at least one"):
        served.predict([np.ones((0, 3), "int32"), np.ones((0, 1))])
    with pytest.raises(InputError, match="at least one row"):
        served.predict([np.ones((2, 3), "int32"), b], batch_size=0)


def test_formats_and_options(path):
    model, _ = by_name()
    for name, library in (("tf_saved_model", "TensorFlow"), ("openvino", "OpenVINO"), ("litert", "LiteRT")):
        with pytest.raises(InputError, match=library):
            model.export(path, format=name)
    with pytest.raises(UnknownNameError, match="Did you mean 'stablehlo'"):
        model.export(path, format="stable_hlo")
    with pytest.raises(UnknownNameError, match="option of the format 'stablehlo'"):
        model.export(path, opset_version=17)
    with pytest.raises(UnknownNameError, match="platform"):
        model.export(path, platforms=("cpu", "gpu"))
    with pytest.raises(InputError, match="platforms=\\(\\)"):
        model.export(path, platforms=())
    with pytest.raises(InputError, match="InputSpec, symbolic tensors or arrays"):
        model.export(path, input_signature={"a": "float32", "b": 2})
    assert not path.exists()


def test_text_stays_on_the_host(path):
    lookup = verax.layers.StringLookup(vocabulary=["a", "b"])
    model = verax.Sequential([verax.Input((2,)), Dense(1)])
    with pytest.raises(DtypeError, match="text is cut and looked up on the host"):
        model.export(path, input_signature=verax.InputSpec("string", (None, 1)))
    archive = verax.export.ExportArchive()
    with pytest.raises(StateError, match="Map it over the data first"):
        archive.add_endpoint("serve", lookup, [verax.InputSpec("int32", (None, 1))])


def test_callbacks_to_python_cannot_be_exported(path):
    class Calls(verax.Layer):
        def call(self, x):
            return jax.pure_callback(lambda a: a, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    model = verax.Sequential([verax.Input((2,), batch_size=3), Calls()])
    with pytest.raises(InputError, match="calls back to Python"):
        model.export(path)


def test_sizes_that_must_be_known(path):
    class Loops(verax.Layer):
        def call(self, x):
            return sum(x[:, i] for i in range(x.shape[1]))

    model = verax.Sequential([verax.Input((None, 2)), Loops()])
    with pytest.raises(InputError, match="Say the sizes in input_signature"):
        model.export(path)
    served = exported(model, path, input_signature=verax.InputSpec("float32", (None, 3, 2)))
    np.testing.assert_array_equal(served(np.ones((4, 3, 2))), np.full((4, 2), 3.0))


def test_without_flatbuffers(path, monkeypatch):
    model, _ = by_name()
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    for attempt in (lambda: model.export(path), lambda: verax.load_exported(path)):
        with pytest.raises(MissingExtraError, match=r"flatbuffers is not installed\n.*verax\[export\]"):
            attempt()
