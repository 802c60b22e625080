"""Several functions in one file."""

from __future__ import annotations

import numpy as np
import pytest

import verax
from verax.errors import InputError, StateError, UnknownNameError
from verax.export import ExportArchive
from verax.layers import Dense


@pytest.fixture
def coder():
    encoder = verax.Sequential([verax.Input((6,)), Dense(2)], name="encoder")
    decoder = verax.Sequential([verax.Input((2,)), Dense(6)], name="decoder")
    return encoder, decoder


def test_endpoints_share_weights_and_keep_their_own_inputs(coder, tmp_path, capsys):
    encoder, decoder = coder
    archive = ExportArchive()
    archive.track(encoder)
    archive.track_and_add_endpoint("decode", decoder, [verax.InputSpec("float32", (None, 2))])
    fn = archive.add_endpoint(
        "both", lambda x, scale: decoder(encoder(x)) * scale, [verax.Input((6,)), verax.Input((1,))]
    )
    archive.add_endpoint("codes", encoder.call, [verax.InputSpec("float32", (None, 6))])
    assert len(archive.variables) == len(archive.trainable_variables) == 4
    assert archive.non_trainable_variables == []
    archive.add_variable_collection("kernels", [encoder.layers[0].kernel, verax.Variable(np.ones(3), name="extra")])
    path = tmp_path / "coder.verax"
    archive.write_out(path)
    assert "decode: decoder" not in capsys.readouterr().out

    served = verax.load_exported(path)
    assert list(served.endpoints) == ["decode", "both", "codes"]
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    codes = encoder.predict(x, verbose=0)
    np.testing.assert_array_equal(served.endpoints["codes"].predict(x), codes)
    np.testing.assert_allclose(served.predict(codes), decoder.predict(codes, verbose=0), rtol=1e-6, atol=1e-6)
    twice = served.endpoints["both"].predict([x, np.full((40, 1), 2.0)])
    np.testing.assert_allclose(twice, 2 * np.asarray(fn(x, np.float32(1.0))), rtol=1e-5, atol=1e-6)
    kernel, extra = served.collections["kernels"]
    np.testing.assert_array_equal(kernel, encoder.layers[0].kernel.numpy())
    np.testing.assert_array_equal(extra, np.ones(3))
    # The kernel stands in the file once.
    assert len(served.description["weights"]) == 5


def test_weights_are_those_of_the_time_it_is_written(coder, tmp_path):
    encoder, _ = coder
    archive = ExportArchive()
    archive.track_and_add_endpoint("serve", encoder)
    encoder.layers[0].kernel.assign(np.ones((6, 2)))
    archive.write_out(tmp_path / "a", verbose=False)
    np.testing.assert_allclose(verax.load_exported(tmp_path / "a")(np.ones((1, 6))), [[6.0, 6.0]])


def test_what_is_refused(coder, tmp_path):
    encoder, decoder = coder
    archive = ExportArchive()
    with pytest.raises(StateError, match="no endpoint"):
        archive.write_out(tmp_path / "a")
    with pytest.raises(InputError, match="layers are tracked"):
        archive.track(3)
    with pytest.raises(InputError, match="no input_signature"):
        archive.add_endpoint("f", lambda x: x)
    with pytest.raises(InputError, match=r"archive\.track\(layer\)"):
        archive.add_endpoint("f", lambda x: decoder(x), [verax.InputSpec("float32", (None, 2))])
    archive.track_and_add_endpoint("serve", encoder)
    for name in ("serve", "a/b", "../x", "", 3):
        with pytest.raises(InputError, match="A name in an ExportArchive"):
            archive.add_endpoint(name, encoder)
    with pytest.raises(UnknownNameError, match="is_static"):
        archive.add_endpoint("g", encoder, is_static=True)
    with pytest.raises(InputError, match="made of variables"):
        archive.add_variable_collection("c", [1])
    with pytest.raises(InputError, match="TensorFlow's"):
        archive.write_out(tmp_path / "a", options=object())
    with pytest.raises(InputError, match="lists, tuples and dicts by name"):
        archive.add_endpoint("h", lambda x: {1: x}, [verax.Input((2,))])
    with pytest.raises(UnknownNameError, match="stablehlo"):
        ExportArchive("saved_model")
