"""What SIGKILL cannot do: make a resumed run another run, or half a file.

``VERAX_KILLS=100`` kills so often instead of the few times that every run of the tests does.
"""

from __future__ import annotations

import os
import random
import time

import numpy as np
import pytest

import verax
from tests.callbacks.killing import DATA, KEEPERS, Nursery, nursery, to_save
from verax.formats.suffixes import WEIGHTS, WHOLE

#: How often a training is killed, in all.
KILLS = int(os.environ.get("VERAX_KILLS", "24"))


@pytest.fixture(scope="module")
def nursed(tmp_path_factory):
    with nursery(tmp_path_factory.mktemp("programs")) as found:
        yield found


def finished(nursed: Nursery, **job) -> None:
    nursed.start("train", **job)
    assert not nursed.wait_for("no such word")


@pytest.mark.parametrize("keeper", KEEPERS)
@pytest.mark.parametrize("data", DATA)
def test_killed_at_any_moment_and_resumed_is_the_same_to_the_last_bit(tmp_path, nursed, data, keeper):
    alone = tmp_path / "alone"
    finished(nursed, data=data, keeper=None, one_by_one=False, result=str(alone))
    draw = random.Random(os.urandom(8))
    wanted, kills, runs, went_on = -(-KILLS // (len(DATA) * len(KEEPERS))), [], 0, 0
    while len(kills) < wanted:
        assert runs <= 3 * wanted, "hardly any run lives until it is killed"
        result = tmp_path / f"{runs}"
        job = {"data": data, "keeper": keeper, "folder": str(tmp_path / f"kept-{runs}"), "result": str(result)}
        # The last process of a run is left alone: enough were killed, or it ended before its turn came.
        while len(kills) < wanted:
            # The first time of a test so late that something was saved, which is then gone on with.
            moment = (draw.randint(1, 12) if kills else draw.randint(5, 14), draw.uniform(0, 0.03))
            pid = nursed.start("train", one_by_one=not kills or draw.random() < 0.7, **job)
            if not nursed.wait_for("chunk", moment[0]):
                break
            time.sleep(moment[1])
            if not nursed.kill(pid):
                break
            kills.append(moment)
            went_on += nursed.said[1] != "from 0"
        else:
            finished(nursed, one_by_one=False, **job)
        assert result.read_text() == alone.read_text(), f"after kills at (chunk, seconds later) {kills}"
        runs += 1
    assert went_on or wanted < 2
    print(f"{data}, {keeper}: {len(kills)} kills in {runs} runs, of which {went_on} of processes that had gone on")


SAVES = int(os.environ.get("VERAX_KILLS", "30"))


def test_a_file_is_the_old_one_or_the_new_one_whenever_its_writer_is_killed(tmp_path, nursed):
    weights = [tmp_path / f"model{suffix}" for suffix in WEIGHTS]
    whole = [tmp_path / f"whole{suffix}" for suffix in WHOLE]
    model, draw, seen = to_save(), random.Random(os.urandom(8)), set()
    for _ in range(SAVES):
        pid = nursed.start("save", weights=[str(path) for path in weights], whole=[str(path) for path in whole])
        nursed.wait_for("begin", draw.randint(2, 3) * len(weights + whole))
        time.sleep(draw.uniform(0, 0.02 * len(weights + whole)))
        assert nursed.kill(pid)
        for path in weights:
            model.load_weights(path)
            found = {float(value) for array in model.get_weights() for value in np.unique(array)}
            assert len(found) == 1, f"{path.name} is of two saves"
            seen |= found
        for path in whole:
            again = verax.saving.load_model(path).get_weights()
            assert len({float(value) for array in again for value in np.unique(array)}) == 1
    assert seen == {0.0, 1.0}
    # What was left half written is at most that of the last writer.
    assert len(list(tmp_path.iterdir())) <= len(weights + whole) + 1
