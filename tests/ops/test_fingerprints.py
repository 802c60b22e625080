"""Hashes against published vectors; that each string is hashed by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verax.ops.fingerprints import chain, farm, sip

#: SipHash's reference vectors (Aumasson and Bernstein, ``vectors_sip64``): of the bytes 0, 1, 2, ... up to a length.
SIP = {
    0: 0x726FDB47DD0E0E31,
    1: 0x74F839C593DC67FD,
    2: 0x0D6C8009D9A94F5A,
    8: 0x93F5F5799A932462,
    15: 0xA129CA6149BE45E5,
}
KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


@pytest.mark.parametrize("length", SIP)
def test_sip_is_that_of_its_authors(length):
    assert int(sip([bytes(range(length))], KEY)[0]) == SIP[length]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_each_string_is_hashed_by_itself(strings):
    for hashed in (farm, lambda s: sip(s, (1, 2))):
        together = hashed(strings)
        assert together.dtype == np.uint64
        assert together.tolist() == [int(hashed([s])[0]) for s in strings]


def test_every_bit_of_a_key_counts():
    assert len({int(sip([b"x"], key)[0]) for key in ((0, 0), (1, 0), (0, 1), (-1, 0), (1 << 63, 0))}) == 5
    assert int(sip([b"x"], (-1, 0))[0]) == int(sip([b"x"], ((1 << 64) - 1, 0))[0])


def test_a_chain_knows_its_order():
    a, b = farm([b"a"]), farm([b"b"])
    assert chain([a, b])[0] != chain([b, a])[0]
