"""Files made to do harm, or broken: refused with an error that says what they hold, and nothing changed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zipfile

import h5py
import numpy as np
import pytest

import verax
from tests.oracle import oracle
from verax import layers
from verax.errors import DataError, InputError, MissingFileError, NotBuiltError, ShapeError, UnknownNameError
from verax.formats import archive, hdf5
from verax.saving import load_model


def network(units=3):
    return verax.Sequential([verax.Input((4,)), layers.Dense(units, name="a"), layers.Dense(1, name="b")], name="net")


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "m.keras"
    network().save(path)
    return path


def changed(path, **members):
    """The archive with members replaced or added."""
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    contents |= {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in contents.items():
            if data is not None:
                new.writestr(name, data)
    return path


def with_config(path, change):
    with zipfile.ZipFile(path) as old:
        config = json.loads(old.read("config.json"))
    change(config)
    return changed(path, config__json=json.dumps(config))


# ---- code in files ---------------------------------------------------------------------------------------------------


def test_a_lambda_of_keras_is_refused_and_can_be_asked_for(tmp_path):
    path = tmp_path / "lambda.keras"
    with oracle() as keras:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2 + 1, name="twice")])
        model.save(path)
    with pytest.raises(InputError, match=r"'twice', which .* a lambda[^~]*safe_mode=False"):
        load_model(path)
    x = np.arange(6.0, dtype="float32").reshape(2, 3)
    np.testing.assert_array_equal(load_model(path, safe_mode=False)(x), x * 2 + 1)


def test_nothing_is_imported_to_find_a_name(saved):
    marker = "antigravity"
    assert marker not in sys.modules

    def change(config):
        config["config"]["layers"][1] |= {"module": marker, "class_name": "Evil", "registered_name": "Evil"}

    with pytest.raises(UnknownNameError, match="Evil"):
        load_model(with_config(saved, change))
    assert marker not in sys.modules
    network().save(saved)

    def call_system(config):
        config["config"]["layers"][1]["config"]["activation"] = {
            "module": "os", "class_name": "function", "config": "system", "registered_name": "function",
        }  # fmt: skip

    with pytest.raises(UnknownNameError, match="system"):
        load_model(with_config(saved, call_system))


def test_pickled_weights_are_refused(saved):
    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    with pytest.raises(DataError, match="pickle"):
        load_model(changed(saved, model__weights__h5=None, **{"model.weights.npz": pickle.dumps(Evil())}))
    path = saved.with_suffix(".npz")
    np.savez(path, **{"weights/a/kernel": np.array([Evil()], dtype=object)})
    with pytest.raises(DataError, match="of object"):
        network().load_weights(path)


def test_pickles_of_pytorch_are_refused_with_the_way_around(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(InputError, match=r"a pickle[^~]*safetensors.torch.save_file"):
        network().load_weights(path)


def test_a_vocabulary_that_is_a_file_is_refused(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("password\n")
    model = verax.Sequential([layers.StringLookup(vocabulary=["a", "b"], name="words")])
    path = tmp_path / "m.keras"
    model.save(path)

    def change(config):
        config["config"]["layers"][0]["config"]["vocabulary"] = str(secret)

    with pytest.raises(InputError, match=r"'words', which reads the file .*secret.txt'"):
        load_model(with_config(path, change))


def test_classes_of_ones_own_are_named_with_the_way_to_find_them(tmp_path):
    class Mine(layers.Layer):
        def call(self, x):
            return x * 2

    path = tmp_path / "m.keras"
    verax.Sequential([verax.Input((3,)), Mine()]).save(path)

    def change(config):
        config["config"]["layers"][1] |= {"class_name": "Other", "registered_name": "Other"}

    with pytest.raises(UnknownNameError, match=r"Other[^~]*custom_objects"):
        load_model(with_config(path, change))
    assert load_model(path, custom_objects={"Other": Mine})(np.ones((1, 3))).tolist() == [[2, 2, 2]]


# ---- archives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:evil", "..\\evil"])
def test_names_that_lead_outside(saved, name):
    with pytest.raises(DataError, match="outside"):
        load_model(changed(saved, **{name: b"x"}))


def test_a_bomb(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", b"0" * (1 << 26))
    with pytest.raises(DataError, match="so little"):
        load_model(path)


def test_members_twice_links_and_encryption(tmp_path, saved):
    path = tmp_path / "twice.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("config.json", b"[]")
    with pytest.raises(DataError, match="one name"):
        load_model(path)
    link = zipfile.ZipInfo("config.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="a link"):
        load_model(path)
    data = bytearray(saved.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    saved.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        load_model(saved)


def test_each_flipped_bit_in_what_is_stored_is_found(saved):
    """Weights, configuration, metadata: the archive's sums tell."""
    data = saved.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        spans = []
        for info in file.infolist():
            named, further = struct.unpack("<HH", data[info.header_offset + 26 : info.header_offset + 30])
            start = info.header_offset + 30 + named + further
            spans.append((start, start + info.file_size))
    rng = np.random.default_rng(0)
    for start, end in spans:
        for at in rng.integers(start, end, 12):
            broken = bytearray(data)
            broken[at] ^= 1 << int(rng.integers(8))
            saved.write_bytes(broken)
            with pytest.raises(DataError, match="another copy"):
                load_model(saved)


def test_flipped_weights_outside_of_an_archive_are_found(tmp_path):
    path, model = tmp_path / "m.weights.h5", network()
    model.save_weights(path)
    kernel = model.layers[0].kernel.numpy().tobytes()
    data = path.read_bytes()
    assert data.count(kernel) == 1
    broken = bytearray(data)
    broken[data.index(kernel) + 5] ^= 16
    path.write_bytes(broken)
    before = model.get_weights()
    with pytest.raises(DataError, match="not those that were written"):
        model.load_weights(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".npz"])
def test_truncated_files(tmp_path, suffix):
    path, model = tmp_path / f"m{suffix}", network()
    (model.save if suffix == ".keras" else model.save_weights)(path)
    data = path.read_bytes()
    for length in (0, 1, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DataError):
            model.load_weights(path)
        if suffix == ".keras":
            with pytest.raises(DataError):
                load_model(path)


# ---- HDF5 ------------------------------------------------------------------------------------------------------------


def weights_file(tmp_path, change):
    path = tmp_path / "m.weights.h5"
    network().save_weights(path)
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars/0"]
        change(file, file["layers/dense/vars"])
    return path


HARM = {
    "another file": (lambda file, group: group.__setitem__("0", h5py.ExternalLink("/etc/hosts", "x")), "another file"),
    "another place": (lambda file, group: group.__setitem__("0", h5py.SoftLink("/layers")), "another place"),
    "a group twice": (lambda file, group: file["layers"].__setitem__("more", file["layers/dense"]), "elsewhere"),
    "an array twice": (lambda file, group: group.__setitem__("0", group["1"]), "elsewhere"),
    "data elsewhere": (
        lambda file, group: group.create_dataset("0", (4, 3), "f4", external=[("/etc/hosts", 0, 48)]),
        "in another file",
    ),
    "virtual": (
        lambda file, group: group.create_virtual_dataset("0", h5py.VirtualLayout((4, 3), "f4")),
        "in another file",
    ),
    "nothing stored": (lambda file, group: group.create_dataset("0", (1 << 40, 3), "f4"), "not in the file"),
    "packed zeros": (
        lambda file, group: group.create_dataset("0", (1 << 40, 3), "f4", chunks=(1024, 3), compression="gzip"),
        "not in the file",
    ),
    "texts": (lambda file, group: group.create_dataset("0", data=["a"] * 12), "of type object"),
    "a type": (lambda file, group: group.__setitem__("0", np.dtype("f8")), "Datatype"),
    "no shape": (lambda file, group: group.create_dataset("0", data=h5py.Empty("f4")), "without a shape"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_no_file_of_weights_holds(tmp_path, harm):
    change, says = HARM[harm]
    path = weights_file(tmp_path, change)
    model = network()
    before = model.get_weights()
    with pytest.raises(DataError, match=says):
        model.load_weights(path)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_file_that_is_none(tmp_path):
    for suffix in (".keras", ".weights.h5", ".npz"):
        path = tmp_path / f"m{suffix}"
        with pytest.raises(MissingFileError, match="no such file"):
            network().load_weights(path)
        path.write_text("not a file of this kind")
        with pytest.raises(DataError, match="not a whole"):
            network().load_weights(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.keras")
    (tmp_path / "m.txt").write_text("")
    with pytest.raises(InputError, match=r"End the name in '.keras'"):
        load_model(tmp_path / "m.txt")


# ---- files of another model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_of_another_model(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    source = network()
    (source.save if suffix == ".keras" else source.save_weights)(path)
    wider = network(5)
    before = wider.get_weights()
    with pytest.raises(DataError, match=r"\(4, 3\) of float32 for 'kernel' of 'a' \(layers/dense\), of shape \(4, 5\)"):
        wider.load_weights(path)
    fewer = verax.Sequential([verax.Input((4,)), layers.Dense(3)])
    with pytest.raises(DataError, match=r"dense_1/vars/0', which is of no layer"):
        fewer.load_weights(path)
    other = verax.Sequential([verax.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(1)])
    with pytest.raises(DataError, match="no weights for 'batch_normalization"):
        other.load_weights(path)
    for a, b in zip(before, wider.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.warns(verax.errors.VeraxWarning, match="Not loaded"):
        other.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(other.layers[0].kernel.numpy(), source.layers[0].kernel.numpy())
    np.testing.assert_array_equal(other.layers[2].kernel.numpy(), source.layers[1].kernel.numpy())


def test_before_there_are_weights(tmp_path):
    model = verax.Sequential([layers.Dense(3)])
    with pytest.raises(NotBuiltError, match=r"model.build"):
        model.save_weights(tmp_path / "m.weights.h5")
    with pytest.warns(verax.errors.VeraxWarning, match="without weights"):
        model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert not again.built
    assert again(np.ones((2, 4))).shape == (2, 3)


def test_absurd_sizes_take_no_memory(saved):
    """A configuration of a million million units is compared with the file before a weight is made."""

    def change(config):
        config["config"]["layers"][1]["config"]["units"] = 10**12

    with pytest.raises((DataError, ShapeError), match=r"10{12}"):
        load_model(with_config(saved, change))


@pytest.mark.parametrize(
    "config", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"class_name": "Dense", "config": {"units": 3}}']
)
def test_configurations_of_no_model(saved, config):
    with pytest.raises(DataError):
        load_model(changed(saved, config__json=config))


def test_what_is_there_stays_when_writing_fails(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(hdf5, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        network().save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["m.keras"]
    with pytest.raises(InputError, match="overwrite"):
        network().save(saved, overwrite=False)
    with pytest.raises(InputError, match="lambda"):
        verax.Sequential([verax.Input((2,)), layers.Lambda(lambda x: x)]).save(saved)
    assert saved.read_bytes() == before


def test_a_folder_is_read_as_its_archive(saved, tmp_path):
    with zipfile.ZipFile(saved) as file:
        file.extractall(tmp_path / "folder")
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(load_model(tmp_path / "folder")(x), load_model(saved)(x))
    with archive.opened(tmp_path / "folder") as members, pytest.raises(DataError, match="outside"):
        members.read("../m.keras")
