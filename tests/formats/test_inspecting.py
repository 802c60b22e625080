"""What is told of files that real Keras, safetensors and NumPy wrote; and of files made to do harm."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy

import verax
from tests.oracle import oracle
from verax import cli
from verax.errors import DataError
from verax.formats.configs import words
from verax.saving import inspect_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that real Keras writes, of a trained model with a class of somebody's own."""
    folder = tmp_path_factory.mktemp("files")
    with oracle() as keras:

        @keras.saving.register_keras_serializable("mine")
        class Square(keras.layers.Layer):
            def call(self, x):
                return x * x

        keras.utils.clear_session()
        x = keras.Input((8, 8, 1), name="image")
        h = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="second")(keras.layers.Rescaling(0.5)(x))
        h = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, padding="same", name="first")(h))
        inner = keras.Sequential([keras.Input((36,)), keras.layers.Dense(5), keras.layers.Dense(2)], name="inner")
        h = Square()(inner(keras.layers.Flatten()(h)))
        h = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True))(keras.layers.Reshape((2, 1))(h))
        model = keras.Model(x, keras.layers.Dense(2, name="out", trainable=False)(h), name="mixed")
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
        model.fit(np.ones((2, 8, 8, 1)), np.ones((2, 2, 2)), verbose=0)
        model.save(folder / "model.keras")
        model.save(folder / "model.h5")
        model.save_weights(folder / "model.weights.h5")
        code = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2, name="twice")])
        code.save(folder / "code.keras")
        code.save(folder / "code.h5")
        sizes = {layer.name: layer.count_params() for layer in model.layers}
        (folder / "sizes.json").write_text(json.dumps(sizes))
    return folder


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_model_of_keras(folder, name):
    report = inspect_file(folder / name)
    assert report["kind"] == {"model.keras": "keras", "model.h5": "keras_h5"}[name]
    with oracle() as keras:
        assert (report["writer"]["library"], report["writer"]["version"]) == ("Keras", keras.__version__)
    assert report["model"] == {"name": "mixed", "class": "Functional"}
    sizes = json.loads((folder / "sizes.json").read_text())
    assert {layer["name"]: layer["parameters"] for layer in report["layers"]} == sizes
    assert report["totals"]["parameters"] == sum(sizes.values())
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert words(layers["second"]["config"]) == "filters 4, kernel_size 3x3, strides 2x2, relu"
    assert words(layers["first"]["config"]) == "filters 4, kernel_size 3x3, same"
    assert words(layers["inner"]["config"]) == "layers 3"
    assert words(layers["bidirectional"]["config"]).startswith("merge_mode concat, around LSTM, units 3, tanh")
    assert layers["out"]["trainable"] is False
    assert [w["shape"] for w in layers["second"]["weights"]] == [[3, 3, 1, 4], [4]]  # the kernel, then the bias
    assert report["compile"] == {
        "optimizer": "Adam",
        "learning_rate": pytest.approx(0.01),
        "loss": "mse",
        "metrics": ["mae"],
    }
    trained = sum(sizes.values()) - 8 - sizes["out"]
    assert report["optimizer"]["parameters"] == 2 * trained + 2
    assert [(f["kind"], f["what"]) for f in report["findings"]] == [("notice", "mine>Square")]
    assert report["safe"]


def test_weights_of_keras(folder):
    report = inspect_file(folder / "model.weights.h5")
    sizes = json.loads((folder / "sizes.json").read_text())
    assert report["kind"] == "weights_h5"
    assert report["totals"]["parameters"] == sum(sizes.values())
    assert report["totals"]["dtypes"] == {"float32": sum(sizes.values())}
    assert report["layers"] == []


@pytest.mark.parametrize("name", ["code.keras", "code.h5"])
def test_bytecode_is_unsafe(folder, name):
    report = inspect_file(folder / name)
    assert not report["safe"]
    assert [(f["kind"], f["what"]) for f in report["findings"]] == [("unsafe", "twice")]
    assert "bytecode" in report["findings"][0]["why"]


def test_a_folder_holds_what_an_archive_does(folder, tmp_path):
    with zipfile.ZipFile(folder / "model.keras") as file:
        file.extractall(tmp_path / "model")
    whole, parts = inspect_file(folder / "model.keras"), inspect_file(tmp_path / "model")
    assert parts["layers"] == whole["layers"]
    assert parts["totals"] == whole["totals"]


def test_assets_are_listed(folder, tmp_path):
    path = tmp_path / "a.keras"
    shutil.copy(folder / "model.keras", path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("assets/layers/lookup/vocabulary.txt", "a\nb\n")
    assert inspect_file(path)["assets"] == [{"path": "assets/layers/lookup/vocabulary.txt", "bytes": 4}]


def test_safetensors_and_npz(tmp_path):
    arrays = {"dense/kernel": np.zeros((3, 2), "float16"), "dense/bias": np.zeros(2, "float32"), "one": np.int64(3)}
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", {"format": "pt"})
    np.savez(tmp_path / "a.npz", **arrays)
    for name in ("a.safetensors", "a.npz"):
        report = inspect_file(tmp_path / name)
        found = {w["path"]: (tuple(w["shape"]), w["dtype"], w["bytes"]) for w in report["weights"]}
        assert found == {k: (a.shape, str(a.dtype), a.nbytes) for k, a in arrays.items()}
        assert report["safe"]
    assert inspect_file(tmp_path / "a.safetensors")["writer"] == {"metadata": {"format": "pt"}}


def test_weights_that_verax_saved(tmp_path):
    model = verax.Sequential([verax.Input((3,)), verax.layers.Dense(2), verax.layers.Dense(4)], name="two")
    model.save_weights(tmp_path / "a.npz")
    assert inspect_file(tmp_path / "a.npz")["totals"]["parameters"] >= 20
    model.compile("adam", "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 4)), verbose=0)
    model.save(tmp_path / "a.keras")
    report = inspect_file(tmp_path / "a.keras")
    assert (report["writer"]["library"], report["writer"]["version"]) == ("Verax", verax.__version__)
    assert [layer["parameters"] for layer in report["layers"]] == [0, 8, 12]
    assert report["compile"]["optimizer"] == "Adam"
    assert report["safe"]


def test_an_exported_model(tmp_path):
    model = verax.Sequential(
        [verax.Input((3,), name="x"), verax.layers.Rescaling(0.5), verax.layers.Dense(2, name="d")], name="small"
    )
    model.export(tmp_path / "a", verbose=False)
    report = inspect_file(tmp_path / "a")
    assert (report["kind"], report["model"]) == ("export", {"name": "small", "class": "Sequential"})
    assert report["totals"] == {"arrays": 2, "parameters": 8, "bytes": 32, "dtypes": {"float32": 8}}
    assert report["endpoints"]["serve"]["arguments"]["items"][0]["name"] == "x"
    assert report["preprocessing"][0]["config"]["scale"] == 0.5
    assert [w["path"] for w in report["layers"][-1]["weights"]] == ["d/kernel", "d/bias"]
    with zipfile.ZipFile(tmp_path / "a", "a") as file:
        file.writestr("more.py", "1")
    assert not inspect_file(tmp_path / "a")["safe"]


# ---- made to do harm ---------------------------------------------------------------------------------------------


def unsafe(path) -> str:
    report = inspect_file(path)
    assert not report["safe"]
    return "\n".join(f"{f['what']}: {f['why']}" for f in report["findings"])


def test_links_are_not_followed(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["key"] = np.ones(3)
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((3, 2))
        file["layers/dense/vars/1"] = h5py.ExternalLink(str(secret), "key")
        file["layers/dense/vars/2"] = h5py.SoftLink("/layers")
        file.create_group("vars")
    said = unsafe(path)
    assert f"is a link to '{secret} key': it was not followed" in said
    assert "is a link to '/layers'" in said
    report = inspect_file(path)
    assert report["kind"] == "weights_h5"
    assert [w["path"] for w in report["weights"]] == ["layers/dense/vars/0"]


def test_data_elsewhere_and_sizes_that_are_not_there(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (10,), "float32", external=[(str(tmp_path / "raw"), 0, 40)])
    assert "another file" in unsafe(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", (1 << 40,), "float32", chunks=(1 << 10,))
    assert "not in the file" in unsafe(tmp_path / "b.h5")


def test_pickles_and_sizes_in_npz(tmp_path):
    np.savez(tmp_path / "a.npz", good=np.ones(2), bad=np.array([{}, 1], object))
    assert "bad.npy: holds pickled Python objects" in unsafe(tmp_path / "a.npz")
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 50,)})
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as file:
        file.writestr("huge.npy", head.getvalue() + b"1234")
    assert "so many numbers are not in its" in unsafe(tmp_path / "b.npz")


@pytest.mark.parametrize("name", ["../../evil.py", "/etc/evil", "a\\..\\..\\evil"])
def test_members_outside_of_the_archive(folder, tmp_path, name):
    path = tmp_path / "a.keras"
    shutil.copy(folder / "model.keras", path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(zipfile.ZipInfo(name), "x")
    assert "it lies outside of the archive" in unsafe(path)
    assert inspect_file(path)["totals"] == inspect_file(folder / "model.keras")["totals"]  # and is told of all the same


def test_a_member_that_is_larger_than_its_bytes(folder, tmp_path):
    path = tmp_path / "a.keras"
    shutil.copy(folder / "model.keras", path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("assets/zeros", bytes(1 << 25))
    assert "so much is not in so little" in unsafe(path)


def test_a_safetensors_header_that_lies(tmp_path):
    def write(name, header, data=b""):
        text = json.dumps(header).encode()
        (tmp_path / name).write_bytes(struct.pack("<Q", len(text)) + text + data)
        return tmp_path / name

    far = write("a.safetensors", {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}}, bytes(8))
    assert "its shape needs 4,398,046,511,104 bytes" in unsafe(far)
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert "the same bytes" in unsafe(write("b.safetensors", {"a": one, "b": one}, bytes(8)))
    for name, header in (("c", [1]), ("d", {"a": 1}), ("e", {"a": {"dtype": "F32"}})):
        with pytest.raises(DataError, match="damaged"):
            inspect_file(write(f"{name}.safetensors", header if isinstance(header, dict) else {"": header}))
    (tmp_path / "f.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}" * 8)
    with pytest.raises(DataError, match="a header of"):
        inspect_file(tmp_path / "f.safetensors")


def test_a_configuration_nested_without_end(folder, tmp_path):
    deep = {"class_name": "Sequential", "config": {"name": "x", "layers": []}}
    for _ in range(200):
        deep = {"class_name": "Wrapper", "config": {"name": "x", "layer": deep}}
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as file:
        file.writestr("config.json", json.dumps(deep))
        file.writestr("metadata.json", "{}")
    assert "nested deeper" in unsafe(tmp_path / "a.keras")


def test_what_cannot_be_read(folder, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        inspect_file(tmp_path / "none.keras")
    path = tmp_path / "a.keras"
    path.write_bytes(b"something else entirely")
    with pytest.raises(DataError, match="no zip archive, HDF5 file or safetensors"):
        inspect_file(path)
    for source in ("model.keras", "model.h5"):
        data = (folder / source).read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=r"was to be (inspected|read)"):
            inspect_file(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "x")
    with pytest.raises(DataError, match="neither a model nor arrays"):
        inspect_file(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{")
        file.writestr("metadata.json", "{}")
    with pytest.raises(DataError, match="damaged"):
        inspect_file(path)


# ---- the command -------------------------------------------------------------------------------------------------


def test_the_table_fits_and_says_it_all(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["inspect", str(folder / "model.keras")]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "Model 'mixed' (Functional), 11 layers" in lines
    assert any(line.startswith("second (Conv2D) filters 4, kernel_size 3x3,") and line.endswith("40") for line in lines)
    assert any(line.startswith("Compiled Adam(0.01), loss mse, metrics mae") for line in lines)
    assert "Safe nothing in it is code, and nothing in it points elsewhere." in lines


def test_exit_codes_and_json(folder, tmp_path, capsys):
    assert cli.main(["inspect", str(folder / "code.keras")]) == 1
    assert "UNSAFE      twice: holds the bytecode" in capsys.readouterr().out
    assert cli.main(["inspect", str(tmp_path / "none")]) == 1
    assert "no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main(["inspect"])
    assert ended.value.code == 2
    capsys.readouterr()
    for name in ("model.keras", "model.h5", "model.weights.h5"):
        assert cli.main(["inspect", "--json", str(folder / name)]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(inspect_file(folder / name)))


def test_names_cannot_steer_the_terminal(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", **{"a\x1b[2J[red]b": np.ones(2)})
    assert cli.main(["inspect", str(tmp_path / "a.npz")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "a\\x1b[2J[red]b" in out


def test_it_needs_no_jax(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(2))
    code = (
        "import sys; from verax import cli; cli.main(sys.argv[1:]); print('jax' in sys.modules, 'keras' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(tmp_path / "a.npz")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert ran.stdout.splitlines()[-1] == "False False"
