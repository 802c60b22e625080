"""The shipped digits are scikit-learn's, which are UCI's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from verax.datasets import digits
from verax.errors import InputError


def test_the_images_are_those_of_scikit_learn_in_the_order_of_the_file():
    theirs = load_digits()
    (x_train, y_train), (x_test, y_test) = digits.load_data(seed=None)
    assert x_train.dtype == y_train.dtype == np.uint8
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), theirs.images)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), theirs.target)
    assert len(x_test) == 359


def test_a_seed_puts_them_into_a_fixed_order():
    theirs = load_digits()
    order = np.random.RandomState(0).permutation(1797)
    (x_train, y_train), (x_test, y_test) = digits.load_data(test_fraction=0.25)
    assert len(x_test) == 449
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), theirs.images[order])
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), theirs.target[order])
    assert order[:5].tolist() == [1081, 1707, 927, 713, 262]  # the split people compare on


@pytest.mark.parametrize("fraction", [0, 1, -0.2, 1e-9])
def test_a_split_without_one_part_is_refused(fraction):
    with pytest.raises(InputError, match="test_fraction="):
        digits.load_data(fraction)
