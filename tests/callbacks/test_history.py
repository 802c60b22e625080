from __future__ import annotations

from verax.callbacks import History, Logs


def test_numbers_and_readings_of_each_epoch():
    history = History()
    readings = [object(), object()]
    history.on_epoch_end(0, Logs({"loss": 1.0, "learning_rate": 0.1}, {"loss": readings[0]}))
    history.on_epoch_end(1, Logs({"loss": 0.5, "learning_rate": 0.1}, {"loss": readings[1]}))
    assert history.history == {"loss": [1.0, 0.5], "learning_rate": [0.1, 0.1]}
    assert history.readings == {"loss": readings}
    assert history.epoch == [0, 1]


def test_a_name_that_is_not_in_every_epoch_says_when_it_was():
    history = History()
    for epoch in range(4):
        history.on_epoch_end(epoch, {"loss": 1.0, **({"val_loss": 2.0} if epoch % 2 else {})})
    assert history.when == {"loss": [0, 1, 2, 3], "val_loss": [1, 3]}
    assert len(history.history["val_loss"]) == 2


def test_a_second_fit_goes_on():
    history = History()
    for _ in range(2):
        history.on_train_begin()
        history.on_epoch_end(0, {"loss": 1.0})
    assert history.epoch == [0, 0]
    assert history.history == {"loss": [1.0, 1.0]}


def test_repr():
    history = History()
    assert repr(history) == "<History of no epoch>"
    history.on_epoch_end(0, {"loss": 1.0})
    assert repr(history) == "<History of 1 epoch: loss 1.0000>"
