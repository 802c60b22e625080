"""Rows that are not at hand: what can be read again is explained as arrays are; the rest says what it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import verax
from tests.model.scenarios import linear, rows
from verax import layers
from verax.ledger import Cause, Gap

TRAIN, VALIDATION = rows(np.random.default_rng(0), 256), rows(np.random.default_rng(1), 100)
TRIPLED = np.full(100, 3.0, "float32")


class Batches(verax.utils.PyDataset):
    """Sixteen batches of sixteen rows, the same ones every time."""

    def __init__(self, data: Any = TRAIN):
        super().__init__()
        self.data = data

    def __len__(self):
        return -(-len(self.data[0]) // 16)

    def __getitem__(self, index):
        return tuple(part[16 * index : 16 * index + 16] for part in self.data)


class Shuffled(Batches):
    """Its batches are others after every epoch, as in many a tutorial."""

    def on_epoch_end(self):
        order = np.random.default_rng(0).permutation(len(self.data[0]))
        self.data = tuple(part[order] for part in self.data)


class Noisy(Batches):
    """Augments its rows when it is asked for them: never the same batch twice."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + np.random.default_rng().normal(size=x.shape), y


def generator(data: Any = TRAIN) -> Any:
    while True:
        yield from (Batches(data)[i] for i in range(len(Batches(data))))


def explained(x: Any, y: Any = None, validation: Any = VALIDATION, **fit: Any) -> Gap:
    verax.utils.set_random_seed(0)
    model = linear(layers.BatchNormalization(), layers.Dropout(0.3), rate=0.01, kernel_regularizer="l2")
    arguments = {"epochs": 2, "shuffle": False, "verbose": 0, **fit}
    return model.fit(x, y, validation_data=validation, **arguments).gap()


@pytest.fixture(scope="module")
def arrays() -> Gap:
    return explained(*TRAIN, batch_size=16)


def assert_alike(one: Gap, two: Gap) -> None:
    assert [link.cause for link in one.links] == [link.cause for link in two.links]
    for a, b in zip(one.links, two.links, strict=True):
        assert a.change == pytest.approx(b.change, rel=1e-4, abs=1e-6)
        assert a.stderr == pytest.approx(b.stderr, rel=1e-4, abs=1e-6)


def test_a_sequence_is_explained_as_its_arrays_are(arrays: Gap):
    gap = explained(Batches())
    assert gap.grade == "full"
    assert_alike(gap, arrays)


def test_an_iterable_is_explained_as_its_arrays_are(arrays: Gap):
    class Loader:
        def __iter__(self):
            return (Batches()[i] for i in range(16))

    assert_alike(explained(Loader()), arrays)


def test_memory_maps_are_explained_as_arrays_are(tmp_path: Any):
    maps = []
    for i, part in enumerate(TRAIN):
        maps.append(np.memmap(tmp_path / str(i), part.dtype, "w+", shape=part.shape))
        maps[-1][:] = part
    both = [explained(*data, batch_size=24, shuffle=True) for data in (maps, TRAIN)]
    assert_alike(*both)  # 256 rows in batches of 24: the last one is short
    assert both[0].grade == "full"


def test_validation_in_batches_is_explained_as_its_rows_are(arrays: Gap):
    assert_alike(explained(*TRAIN, validation=Batches(VALIDATION), batch_size=16), arrays)
    weighted = explained(*TRAIN, validation=(*VALIDATION, TRIPLED), batch_size=16)
    assert Cause.ROW_WEIGHTS in weighted.by_cause()
    assert_alike(explained(*TRAIN, validation=Batches((*VALIDATION, TRIPLED)), batch_size=16), weighted)


def test_part_of_the_validation_is_measured_as_that_part():
    """validation_steps: the rows that were shown, and not all there are, are measured without their weights too."""
    part = tuple(a[:32] for a in VALIDATION)
    whole = explained(*TRAIN, validation=(*VALIDATION, TRIPLED), batch_size=16, validation_steps=2)
    alone = explained(*TRAIN, validation=(*part, TRIPLED[:32]), batch_size=16)
    assert whole.by_cause() == pytest.approx(alone.by_cause(), rel=1e-5)


# ---- a lower grade, and which ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "steps", "why"),
    [
        (generator, 16, "generator, which cannot be read again"),
        (Shuffled, None, "on_epoch_end, which may change its batches"),
        (Noisy, None, "others each time they are read"),
        (lambda: [Batches()[i] for i in range(16)].__iter__(), 8, "generator"),
    ],
    ids=["generator", "shuffles itself", "augments itself", "iterator"],
)
def test_what_cannot_be_read_again_is_one_bundle(make: Any, steps: int | None, why: str):
    for explain in ("end", "epoch"):
        gap = explained(make(), steps_per_epoch=steps, explain=explain)
        assert [link.cause for link in gap.links] == [Cause.PENALTIES, Cause.NOT_SEPARATED, Cause.PENALTIES]
        assert why in gap.grade
        assert why in " ".join(str(gap).split())
        assert abs(gap.residual) <= 1e-6 * gap.train.value


def test_an_iterable_whose_epochs_continue_each_other_is_one_bundle():
    class Loader:
        def __iter__(self):
            return (Batches()[i] for i in range(16))

    assert "goes on where the last one ended" in explained(Loader(), steps_per_epoch=5).grade


def test_a_sequence_of_which_an_epoch_is_a_part_is_explained():
    gap = explained(Batches(), steps_per_epoch=5)
    assert gap.grade == "full"
    assert gap.train.facts.rows.count == 80
    assert abs(gap.residual) <= 1e-6 * gap.train.value


def test_fit_with_a_generator_ends_with_what_it_can_say(capsys: Any):
    explained(generator(), steps_per_epoch=16, verbose=2)
    assert "not separated" in capsys.readouterr().out


def test_validation_from_a_generator_needs_no_second_reading(arrays: Gap):
    gap = explained(*TRAIN, validation=generator(VALIDATION), validation_steps=7, epochs=1, batch_size=16)
    assert gap.grade == "full"
    assert Cause.ROWS in gap.by_cause()


def test_weighted_validation_from_a_generator_is_bundled_with_its_weights():
    gap = explained(*TRAIN, validation=generator((*VALIDATION, TRIPLED)), validation_steps=7, epochs=1, batch_size=16)
    assert Cause.DROPOUT in gap.by_cause()
    assert [link.cause for link in gap.links][-2:] == [Cause.NOT_SEPARATED, Cause.PENALTIES]
    assert gap.links[-2].fact.before == "weights; rows"
    assert "validation rows can be read only once" in gap.grade
    assert abs(gap.residual) <= 1e-6 * gap.train.value


def test_explaining_a_stream_takes_no_batch_from_the_next_epoch():
    """What a sequence is asked for while it is explained changes nothing of what it is trained on."""

    def weights(explain: str) -> list[bytes]:
        verax.utils.set_random_seed(1)
        model = linear(layers.Dropout(0.3), rate=0.01)
        model.fit(Batches(), epochs=4, steps_per_epoch=8, validation_data=VALIDATION, explain=explain, verbose=0)
        return [w.tobytes() for w in model.get_weights()]

    assert weights("epoch") == weights("off")
