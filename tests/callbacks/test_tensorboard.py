"""TensorBoard: what its files hold, read back record by record."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import verax
from verax import layers
from verax.callbacks import CallbackList, TensorBoard
from verax.errors import InputError, MissingExtraError

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

X, Y = np.arange(24).reshape(8, 3) % 10, np.arange(8.0)


def values(folder: Path):
    """tag -> [(step, value)] of the event files of a folder."""
    found = defaultdict(list)
    for file in folder.glob("events.*"):
        held = file.read_bytes()
        at = 0
        while at < len(held):
            (size,) = struct.unpack("<Q", held[at : at + 8])
            event = event_pb2.Event.FromString(held[at + 12 : at + 12 + size])
            at += 16 + size
            for value in event.summary.value:
                found[value.tag].append((event.step, value))
    return found


def scalars(folder: Path):
    return {
        tag: [(step, pytest.approx(v.simple_value, rel=1e-6)) for step, v in found]
        for tag, found in values(folder).items()
        if found[0][1].WhichOneof("value") == "simple_value"
    }


def fitted(folder, epochs=2, **arguments):
    model = verax.Sequential(
        [
            verax.Input((3,), dtype="int32"),
            layers.Embedding(10, 4, name="words"),
            layers.Flatten(),
            layers.Dense(1, name="out"),
        ]
    )
    model.compile(verax.optimizers.Adam(0.25), "mse", metrics=["mae"])
    history = model.fit(
        X, Y, batch_size=2, epochs=epochs, verbose=0, validation_data=(X, Y), callbacks=TensorBoard(folder, **arguments)
    )
    return model, history.history


def test_numbers_of_epochs(tmp_path):
    model, history = fitted(tmp_path)
    train, validation = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    assert set(train) == {"epoch_loss", "epoch_mae", "epoch_learning_rate"}
    assert train["epoch_loss"] == list(enumerate(history["loss"]))
    assert train["epoch_learning_rate"] == [(0, 0.25), (1, 0.25)]
    assert validation["epoch_mae"] == list(enumerate(history["val_mae"]))
    assert validation["evaluation_loss_vs_iterations"] == list(zip((4, 8), history["val_loss"], strict=True))
    [(_, said)] = values(tmp_path / "train")["keras"]
    assert json.loads(said.tensor.string_val[0])["config"]["name"] == model.name
    assert said.metadata.plugin_data.plugin_name == "graph_keras_model"


def test_numbers_of_batches_do_not_slow_the_steps_down(tmp_path):
    _, history = fitted(tmp_path, update_freq=2, write_graph=False)
    found = scalars(tmp_path / "train")
    assert [step for step, _ in found["batch_loss"]] == [2, 4, 6, 8]
    assert found["batch_loss"][1][1] == history["loss"][0]  # over the epoch so far
    assert "keras" not in values(tmp_path / "train")
    each = TensorBoard(tmp_path, update_freq="batch")
    assert not CallbackList([each]).acts_between_batches()
    assert CallbackList([each]).reads_batches()
    assert not CallbackList([TensorBoard(tmp_path)]).reads_batches()
    assert CallbackList([TensorBoard(tmp_path, profile_batch=2)]).acts_between_batches()


def test_weights_speed_and_tables(tmp_path):
    names = tmp_path / "names.tsv"
    names.write_text("\n".join(f"word {i}" for i in range(10)))
    model, _ = fitted(
        tmp_path,
        histogram_freq=2,
        write_images=True,
        write_steps_per_second=True,
        embeddings_freq=1,
        embeddings_metadata={"words": str(names)},
    )
    found = values(tmp_path / "train")
    for weight in model.weights:
        [(step, histogram)] = found[f"{weight.path}/histogram"]
        assert (step, histogram.histo.num) == (0, weight.size)
        if weight.size == 1:
            continue
        [(_, picture)] = found[f"{weight.path}/image"]
        assert picture.image.width * picture.image.height == weight.size
    assert all(v.simple_value > 0 for _, v in found["epoch_steps_per_second"] + found["batch_steps_per_second"])
    assert found["batch_steps_per_second"][-1][0] == 8
    table = np.loadtxt(tmp_path / "train/00001/words/tensors.tsv")
    np.testing.assert_allclose(table, model.layers[0].embeddings.numpy(), rtol=1e-5)
    assert "word 3" in (tmp_path / "train/00001/words/metadata.tsv").read_text()


def test_a_profile_is_recorded(tmp_path):
    fitted(tmp_path, epochs=1, profile_batch=(2, 3))
    [trace] = (tmp_path / "train/plugins/profile").glob("*/*.trace.json.gz")
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]


def test_evaluate_alone_closes_its_files(tmp_path):
    model, _ = fitted(tmp_path / "a")
    model.evaluate(X, Y, verbose=0, callbacks=[TensorBoard(tmp_path / "b")])
    assert [step for step, _ in scalars(tmp_path / "b/validation")["evaluation_loss_vs_iterations"]] == [8]


@pytest.mark.parametrize("wrong", [{"update_freq": "often"}, {"update_freq": 0}, {"profile_batch": (3, 2)}])
def test_wrong_arguments(tmp_path, wrong):
    with pytest.raises(InputError, match="Received"):
        TensorBoard(tmp_path, **wrong)


def test_without_tensorboardx_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"verax\[tensorboard\]"):
        TensorBoard(tmp_path)
