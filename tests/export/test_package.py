"""Files of exported models that are damaged, or made to do harm, are refused before anything of them is used."""

from __future__ import annotations

import hashlib
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import verax
from verax.errors import DataError
from verax.layers import Dense


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.verax"
    layers = [Dense(2, dtype="bfloat16", name="half"), Dense(1, name="full")]
    verax.Sequential([verax.Input((3,)), *layers]).export(path, verbose=False)
    return path


def members(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewritten(whole, path, change=None, *, hashed=True, method=zipfile.ZIP_STORED):
    """A copy with something changed; with its hashes made to fit, as whoever means harm would."""
    found = members(whole)
    description = json.loads(found["export.json"])
    if change is not None:
        change(found, description)
    if hashed:
        for name in set(found) - {"export.json"}:
            data = found[name]
            description["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    found["export.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in found.items():
            file.writestr(name, data)
    return path


def test_a_rewritten_file_is_read(whole, tmp_path):
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        served = verax.load_exported(rewritten(whole, tmp_path / "a", method=method))
        np.testing.assert_array_equal(
            served.predict(np.ones((2, 3))), verax.load_exported(whole).predict(np.ones((2, 3)))
        )


def _flip(found, description):
    data = bytearray(found["weights.safetensors"])
    data[-1] ^= 1
    found["weights.safetensors"] = bytes(data)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_flip, "other bytes than it was written with"),
        (lambda f, d: f.update({"evil.py": b"1"}), "not those it describes"),
        (lambda f, d: f.pop("weights.safetensors"), "not those it describes"),
        (lambda f, d: d.update(format="else"), "no exported model"),
        (lambda f, d: d.update(version=99), "up to version 1"),
    ],
)
def test_damage_is_found(whole, tmp_path, change, match):
    with pytest.raises(DataError, match=match):
        verax.load_exported(rewritten(whole, tmp_path / "a", change, hashed=False))


def _cut_program(found, description):
    name = next(n for n in found if n.startswith("programs/"))
    found[name] = found[name][: len(found[name]) // 2]


def _serve(description):
    return description["endpoints"]["serve"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_cut_program, "this JAX cannot read it"),
        (lambda f, d: f.update({"weights.safetensors": b"\xff" * 40}), "no whole .safetensors file"),
        (lambda f, d: d["weights"].popitem(), "not those it describes"),
        (lambda f, d: d.update(endpoints={}), "not of the form"),
        (lambda f, d: d.update(endpoints=[]), "not of the form"),
        (lambda f, d: _serve(d).pop("result"), "not of the form"),
        (lambda f, d: _serve(d)["weights"].append("nothing"), "not of the form"),
        (lambda f, d: _serve(d)["weights"].pop(), "other inputs or outputs"),
        (lambda f, d: _serve(d)["result"].update(dtype="int32"), "other inputs or outputs"),
        (lambda f, d: _serve(d)["arguments"].update(kind="tensor"), "not of the form"),
        (lambda f, d: _serve(d)["arguments"]["items"][0].update(shape=[-1]), "not of the form"),
        (lambda f, d: _serve(d)["programs"][0].update(file="../x"), "not of the form"),
    ],
)
def test_a_file_that_lies_is_refused(whole, tmp_path, change, match):
    with pytest.raises(DataError, match=match):
        verax.load_exported(rewritten(whole, tmp_path / "a", change))


def test_a_deep_structure_is_refused(whole, tmp_path):
    def nest(found, description):
        deep = {"kind": "none"}
        for _ in range(100):
            deep = {"kind": "list", "items": [deep]}
        _serve(description)["result"] = deep

    with pytest.raises(DataError, match="at depth"):
        verax.load_exported(rewritten(whole, tmp_path / "a", nest))


def test_a_program_that_calls_python_is_refused(whole, tmp_path):
    def call(weights, inputs, seed):
        # What jax.pure_callback becomes: an address in this process, which means anything in another one.
        run = jax.ffi.ffi_call("xla_ffi_python_cpu_callback", jax.ShapeDtypeStruct((2, 1), jnp.float32))
        return [run(inputs[0], index=np.int64(12345))]

    made = jax_export.export(
        jax.jit(call),
        platforms=("cpu",),
        disabled_checks=[jax_export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")],
    )

    def plant(found, description):
        form = _serve(description)
        noted = [description["weights"][name] for name in form["weights"]]
        weights = [jax.ShapeDtypeStruct(w["shape"], w["dtype"]) for w in noted]
        inputs = [jax.ShapeDtypeStruct((2, 3), jnp.float32)]
        program = made(weights, inputs, jax.ShapeDtypeStruct((), jnp.uint32))
        for each in form["programs"]:
            found[each["file"]] = bytes(program.serialize())

    with pytest.raises(DataError, match="calls of xla_ffi_python_cpu_callback"):
        verax.load_exported(rewritten(whole, tmp_path / "a", plant))


def test_other_files(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match="not a whole zip archive"):
        verax.load_exported(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", "{}")
    with pytest.raises(DataError, match=r"verax\.saving\.load_model"):
        verax.load_exported(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("export.json", "[" * 100_000)
    with pytest.raises(DataError, match="damaged"):
        verax.load_exported(path)


def test_the_weights_are_plain_safetensors(whole, tmp_path):
    from safetensors import safe_open

    (tmp_path / "w.safetensors").write_bytes(members(whole)["weights.safetensors"])
    with safe_open(tmp_path / "w.safetensors", "np") as file:
        assert sorted(file.keys()) == ["full/bias", "full/kernel", "half/bias", "half/kernel"]
        assert file.get_tensor("full/kernel").shape == (2, 1)


def test_it_says_nothing_of_the_machine_it_was_written_on(whole):
    for data in members(whole).values():
        assert b".py" not in data
        assert b"/src/" not in data
