"""The benchmarks: what is timed is the same model in both libraries, and a table says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import pytest
from benchmarks import report
from benchmarks.models import PEERS, ROWS, batches, compiled, work

import verax
from tests.oracle import oracle

ROOT = Path(__file__).parents[1]


def pins(path: str) -> dict[str, str]:
    lines = [line.split(";")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    found = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {name.lower(): version for name, version in reversed(found)}  # the first of two by Python version


# A run compares the parameters of every row; what is small enough to build here stands for the rest.
@pytest.mark.parametrize("name", ["wide", "convnet", "lstm", "transformer:1:16:2:8:4"])
def test_keras_and_verax_build_the_same_model(name: str):
    ours = work(name).model(verax)
    shapes: list[tuple[int, ...]] = []

    def build() -> None:  # traced, so that nothing is computed
        shapes.extend(tuple(w.shape) for w in work(name).model(keras).weights if "seed" not in w.path)

    with oracle() as keras:
        jax.eval_shape(build)
    params, state = verax.values(ours)
    mine = [v.shape for path, v in {**params, **state}.items() if "seed" not in path]
    assert sorted(mine) == sorted(shapes)


def test_every_row_has_an_aim_for_every_peer_and_data_of_its_batches():
    for name in ROWS:
        made = work(name)
        assert len(made.targets) == len(PEERS)
        assert made.quick <= made.steps
        x, y = made.data(made.batch)
        assert len(x) == len(y) == made.batch


def test_a_generator_begins_again_where_its_rows_end():
    made = work("generator")
    x, y = made.data(2 * made.batch)
    stream = batches((x, y), made.batch)
    first, _, third = next(stream), next(stream), next(stream)
    assert (first[0] == third[0]).all()
    assert (first[1] == y[: made.batch]).all()


def test_a_work_trains():
    made = work("mlp:8:2")
    history = compiled(verax, made).fit(*made.data(64), batch_size=made.batch, verbose=0)
    assert set(history.history) == {"loss", "accuracy"}


def test_the_pins_of_the_peers_are_those_of_verax():
    base, peers = pins("requirements/base.txt"), pins("benchmarks/peers.txt")
    differ = {name for name, version in base.items() if peers.get(name) != version}
    assert differ == {"h5py"}  # TensorFlow 2.21 holds it below 3.15


def test_a_table_tells_medians_spreads_and_what_falls_short(tmp_path: Path):
    found = {"verax": [1e-3, 2e-3, 1e-3], "keras-jax": [4e-3, 8e-3, 5e-3], "torch": [5e-4, 1e-3, 8e-4]}
    row = {"seconds": found, "about": {p: {} for p in found}, "failed": {"keras-torch": "out of memory"}}
    report.record("rows", {"convnet": row}, tmp_path)
    report.record("rows", {"lstm": row}, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| 4 (4 to 5), aim 3.5 | - | - | **0.5 (0.5 to 0.8)**, aim 1: short | no |" in text
    assert "MNIST convnet, batch 128, Adam | 1 ms | 5 ms | - | - | 800 µs |" in text
    assert "keras-torch failed: `out of memory`" in text
    kept = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert set(kept) == {"convnet", "lstm"}
    assert kept["lstm"]["seconds"] == found
    assert (tmp_path / "ratios.svg").read_text().startswith("<?xml")
