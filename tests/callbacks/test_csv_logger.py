from __future__ import annotations

import csv

import numpy as np
import pytest

from tests.callbacks.fakes import drive
from tests.oracle import oracle
from verax.callbacks import CSVLogger, Logs
from verax.errors import InputError

EPOCHS = [{"loss": 1.0 / 3, "accuracy": 0.5, "val_loss": 2.0}, {"loss": 0.25, "accuracy": 0.75, "val_loss": 1e-9}]


def rows(path, separator=","):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("append", [False, True])
def test_holds_what_keras_holds(tmp_path, separator, append):
    ours, theirs = str(tmp_path / "ours.csv"), str(tmp_path / "theirs.csv")
    with oracle() as keras:
        for _ in range(2):
            drive(CSVLogger(ours, separator, append), EPOCHS)
            drive(keras.callbacks.CSVLogger(theirs, separator, append), EPOCHS)
    assert rows(ours, separator) == rows(theirs, separator)
    assert len(rows(ours, separator)) == (4 if append else 2)


def test_the_file_is_complete_after_every_epoch(tmp_path):
    path = tmp_path / "runs" / "log.csv"
    logger = CSVLogger(path)
    logger.on_train_begin()
    assert path.read_text() == ""
    logger.on_epoch_end(0, Logs({"loss": 0.5}))
    assert path.read_text() == "epoch,loss\n0,0.5\n"


def test_a_late_name_becomes_a_column(tmp_path):
    path = tmp_path / "log.csv"
    drive(CSVLogger(path), [{"loss": 1.0}, {"loss": 0.5, "val_loss": 2.0}, {"loss": 0.25}])
    assert path.read_text() == "epoch,loss,val_loss\n0,1.0,NA\n1,0.5,2.0\n2,0.25,NA\n"
    assert list(tmp_path.iterdir()) == [path]


def test_appending_other_names_merges_the_header(tmp_path):
    path = tmp_path / "log.csv"
    drive(CSVLogger(path), [{"loss": 1.0, "accuracy": 0.5}])
    drive(CSVLogger(path, append=True), [{"mae": 3.0, "loss": 0.5}])
    assert path.read_text() == "epoch,loss,accuracy,mae\n0,1.0,0.5,NA\n0,0.5,NA,3.0\n"


def test_arrays_and_words_stay_in_their_cells(tmp_path):
    path = tmp_path / "log.csv"
    drive(CSVLogger(path), [{"loss": np.array([1.0, 2.0]), "note": "a,b"}])
    assert rows(path) == [{"epoch": "0", "loss": "[1.0, 2.0]", "note": "a,b"}]


def test_a_file_that_is_no_log_is_not_appended_to(tmp_path):
    path = tmp_path / "log.csv"
    drive(CSVLogger(path, separator=";"), EPOCHS)
    before = path.read_text()
    with pytest.raises(InputError, match="separator"):
        drive(CSVLogger(path, append=True), EPOCHS)
    assert path.read_text() == before
    with pytest.raises(InputError, match="one character"):
        CSVLogger(path, separator=", ")
