"""Dropout's masks: whose bits they are, how often they keep, and what they are independent of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32

from tests.kernels import kernels
from verax.frame.seeds import path_hash
from verax.ops.draws import draw_mask, kept_fraction

KEY = jax.random.key(11)
N = 1 << 18


@pytest.mark.parametrize("rate", [1e-9, 1e-4, 2.0**-8, 0.1, 0.5, 0.7, 0.999])
def test_kept_fraction_is_near_and_drawn(rate):
    kept = kept_fraction(rate)
    assert abs(kept - (1 - rate)) <= (2.0**-17 if 2.0**-8 <= rate <= 1 - 2.0**-8 else 2.0**-32)
    found = np.asarray(draw_mask(KEY, rate, (N,))).mean()
    # Six standard errors of a binomial proportion.
    assert abs(found - kept) <= 6 * np.sqrt(kept * (1 - kept) / N)


def test_bits_are_those_of_jax_threefry():
    # Salmon et al. (2011), known answer of Threefry-2x32-20 for key and counter 0.
    zero = threefry_2x32(jnp.zeros(2, "uint32"), jnp.zeros(2, "uint32"))
    assert [hex(w) for w in np.asarray(zero)] == ["0x6b200159", "0x99ba4efe"]
    blocks = 5
    count = jnp.concatenate([jnp.zeros(blocks, "uint32"), jnp.arange(blocks, dtype="uint32")])
    words = np.asarray(threefry_2x32(jax.random.key_data(KEY), count))
    lanes = np.concatenate([words & 0xFFFF, words >> 16])
    expected = lanes < kept_fraction(0.3) * 2**16
    np.testing.assert_array_equal(draw_mask(KEY, 0.3, (3, 6)), expected[:18].reshape(3, 6))
    np.testing.assert_array_equal(draw_mask(KEY, 0.001, (10,)), words < kept_fraction(0.001) * 2**32)


def test_mask_follows_from_key_rate_and_shape_alone():
    masks = [np.asarray(draw_mask(KEY, 0.4, (7, 9)))]
    masks.append(np.asarray(jax.jit(lambda key: draw_mask(key, 0.4, (7, 9)))(KEY)))
    masks.append(np.asarray(jax.lax.map(lambda key: draw_mask(key, 0.4, (7, 9)), jnp.stack([KEY, KEY])))[1])
    for fast in (True, False):
        with kernels(fast):
            masks.append(np.asarray(draw_mask(KEY, 0.4, (7, 9))))
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])
    assert draw_mask(KEY, 0.4, ()).shape == ()
    assert draw_mask(KEY, 0.4, (0, 3)).shape == (0, 3)


def test_keys_of_other_generators_give_their_own_masks():
    found = np.asarray(draw_mask(jax.random.key(0, impl="rbg"), 0.25, (N,))).mean()
    assert abs(found - 0.75) < 6 * np.sqrt(0.75 * 0.25 / N)


def keys_of_a_run():
    """Keys as layers get them: of neighbouring steps, paths and calls."""
    run = jax.random.key(0)
    keys = [jax.random.fold_in(run, step) for step in range(4)]
    keys += [jax.random.fold_in(run, path_hash(path)) for path in ("drop", "drop_1", "block1/drop", "block2/drop")]
    return keys + [jax.random.fold_in(keys[-1], n) for n in range(4)]


def test_no_correlation_within_a_mask_or_between_masks():
    draw = jax.jit(lambda key: draw_mask(key, 0.5, (N,)))
    masks = np.stack([np.asarray(draw(key)) for key in keys_of_a_run()]).astype("float32") * 2 - 1
    limit = 6 / np.sqrt(N)
    # Between any two masks, at the same place: the correlation of independent signs is normal, sd 1 / sqrt(N).
    between = masks @ masks.T / N - np.eye(len(masks))
    assert np.abs(between).max() < limit
    # Within a mask: neighbours, and the distances at which two draws come from one block or one word.
    for lag in (1, 2, 3, 4, 64, N // 4, N // 2, 3 * N // 4):
        within = (masks * np.roll(masks, lag, 1)).mean(1)
        assert np.abs(within).max() < limit, lag
    # The four draws of one block: sixteen patterns, equally often (chi-square, 15 degrees of freedom: sd sqrt(30)).
    patterns = (masks.reshape(-1, 4, N // 4) > 0).astype(int).transpose(0, 2, 1) @ np.array([1, 2, 4, 8])
    for one in patterns:
        counts = np.bincount(one, minlength=16)
        assert np.sum((counts - N / 64) ** 2) / (N / 64) < 15 + 6 * np.sqrt(30)
