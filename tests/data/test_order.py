"""Orders: a function of seed and round, fair, and made while the round before runs."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from verax.data import order
from verax.data.order import Orders, rows_in_order


def test_every_division_into_batches_is_as_likely_as_any_other():
    n = 6000
    seen = Counter(tuple(rows_in_order(5, 2, True, 1, r).tolist()) for r in range(n))
    # 5! orders, 2! * 2! of which differ only within a batch
    assert len(seen) == 30
    expected = n / 30
    assert sum((count - expected) ** 2 / expected for count in seen.values()) < 60  # chi-square, 29: p = 0.0006


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(order, "_MANY", 20)


@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_kept_and_made_ahead_are_what_is_made_when_asked(shuffle):
    orders = Orders(23, 4)
    rounds = [0, 0, 1, 2, 2, 3, 7, 8, 0, 1]
    for seed, r in itertools.product((0, 9), rounds):
        got = orders.of(shuffle, seed, r).rows
        np.testing.assert_array_equal(got, rows_in_order(23, 4, shuffle, seed, r))
        assert got.dtype == np.int32
        assert not got.flags.writeable
    assert orders.of(shuffle, 9, 1).rows is got


def test_what_a_round_needs_beside_its_order_is_made_of_that_order_and_not_of_one_that_is_not_shuffled():
    orders = Orders(23, 4)
    for r in (0, 1, 2, 2):
        order = orders.of(True, 3, r, lambda rows: rows + 1)
        np.testing.assert_array_equal(order.laid, rows_in_order(23, 4, True, 3, r) + 1)
    assert orders.of(False, 3, 0, lambda rows: rows + 1).laid is None


def test_the_round_after_one_that_was_asked_for_is_made_in_a_thread(monkeypatch):
    makers = {}

    def made(rows, batch, shuffle, seed, round_):
        makers[round_] = threading.current_thread().name.split("_")[0]
        return rows_in_order(rows, batch, shuffle, seed, round_)

    monkeypatch.setattr(order, "rows_in_order", made)
    orders = Orders(50, 10)
    for r in range(3):
        orders.of(True, 0, r)
    orders._ahead[1].result()
    here = threading.current_thread().name
    assert makers == {0: here, 1: "verax-order", 2: "verax-order", 3: "verax-order"}


def test_where_the_process_takes_no_more_work_orders_are_made_when_asked(monkeypatch):
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    monkeypatch.setattr(order, "_worker", lambda: ended)
    orders = Orders(50, 10)
    for r in range(3):
        np.testing.assert_array_equal(orders.of(True, 0, r).rows, rows_in_order(50, 10, True, 0, r))


def test_many_rows_are_shuffled_ahead_only_once_two_rounds_were_asked_for(monkeypatch):
    few = rows_in_order(50, 10, True, 0, 1)
    monkeypatch.setattr(order, "_QUICK", 49)
    orders = Orders(50, 10)
    orders.of(True, 0, 0)
    assert orders._ahead is None
    np.testing.assert_array_equal(orders.of(True, 0, 1).rows, few)
    assert orders._ahead[0] == (True, 0, 2)


def test_few_rows_are_not_worth_a_thread(monkeypatch):
    monkeypatch.setattr(order, "_MANY", 51)
    orders = Orders(50, 10)
    for r in range(4):
        orders.of(True, 0, r)
    assert orders._ahead is None


def test_where_memory_ends_in_the_thread_the_caller_tries_and_is_told(monkeypatch):
    def full(*arguments):
        raise MemoryError

    orders = Orders(50, 10)
    orders.of(True, 0, 0)
    with monkeypatch.context() as patch:
        orders._ahead[1].result()
        patch.setattr(order, "rows_in_order", full)
        orders.of(True, 0, 1)  # which was made in time
        assert isinstance(orders._ahead[1].exception(), MemoryError)
        with pytest.raises(MemoryError):
            orders.of(True, 0, 2)
    np.testing.assert_array_equal(orders.of(True, 0, 2).rows, rows_in_order(50, 10, True, 0, 2))
