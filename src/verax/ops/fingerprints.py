"""Hashes of byte strings that are the same on every machine and in every release: for bins that must not move.

NumPy on the host; all strings of one length are hashed together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["chain", "farm", "sip"]

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = (np.uint64(k) for k in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_CHAIN = np.uint64(0xC6A4A7935BD1E995)

Words = np.ndarray  # of uint64, one for each string


def farm(strings: Sequence[bytes]) -> np.ndarray:
    """FarmHash's 64-bit fingerprint of each string: what TensorFlow's ``to_hash_bucket_fast`` divides.

    Args:
        strings: n byte strings.

    Returns:
        uint64 (n,).

    Source: FarmHash (Pike, 2014), ``Fingerprint64``, by which TensorFlow numbers hash buckets.

    >>> [hex(n) for n in farm([b"", b"hello"]).tolist()]
    ['0x9ae16a3b2f90404f', '0xb48be5a931380ce8']
    """
    return _by_length(strings, _farm)


def sip(strings: Sequence[bytes], key: Sequence[int]) -> np.ndarray:
    """SipHash-2-4 of each string: what TensorFlow's ``to_hash_bucket_strong`` divides.

    Args:
        strings: n byte strings.
        key: Two whole numbers, taken modulo 2^64.

    Returns:
        uint64 (n,).

    Source: Aumasson and Bernstein, 2012, https://www.aumasson.jp/siphash/siphash.pdf, whose appendix A is the example.

    >>> hex(int(sip([bytes(range(15))], (0x0706050403020100, 0x0F0E0D0C0B0A0908))[0]))
    '0xa129ca6149be45e5'
    """
    k0, k1 = (int(k) & _MASK for k in key)
    return _by_length(strings, lambda rows: _sip(rows, k0, k1))


def chain(parts: Sequence[np.ndarray], start: int = 0xDECAFCAFFE) -> np.ndarray:
    """One number for each row of several columns of numbers: what TensorFlow's ``sparse.cross_hashed`` divides.

    Args:
        parts: Columns, each uint64 (n,).
        start: What the first column is joined to.

    Returns:
        uint64 (n,).

    Source: TensorFlow, ``FingerprintCat64``, a step of Murmur's 64-bit hash.
    """
    joined = np.full(parts[0].shape, start, np.uint64)
    for part in parts:
        joined = joined ^ _CHAIN
        joined = (joined ^ (_shift_mix(part * _CHAIN) * _CHAIN)) * _CHAIN
        joined = _shift_mix(_shift_mix(joined) * _CHAIN)
    return joined


def _by_length(strings: Sequence[bytes], hashed: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``hashed`` of bytes (rows, length), for the strings of each length."""
    out = np.zeros(len(strings), np.uint64)
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    for length in np.unique(lengths).tolist():
        where = np.flatnonzero(lengths == length)
        rows = np.frombuffer(b"".join(strings[i] for i in where.tolist()), np.uint8).reshape(len(where), length)
        out[where] = hashed(rows)
    return out


def _word(rows: np.ndarray, at: int, size: int = 8) -> Words:
    """The ``size`` bytes from ``at``, the lowest first, as numbers."""
    cut = np.ascontiguousarray(rows[:, at : at + size])
    return cut.view(f"<u{size}")[:, 0].astype(np.uint64)


def _turn(x: Words, right: int) -> Words:
    return (x >> np.uint64(right)) | (x << np.uint64(64 - right))


def _shift_mix(x: Words) -> Words:
    return x ^ (x >> np.uint64(47))


def _mix(u: Words, v: Words, by: Words | np.uint64) -> Words:
    a = _shift_mix((u ^ v) * by)
    return _shift_mix((v ^ a) * by) * by


def _farm(rows: np.ndarray) -> Words:
    n = rows.shape[1]
    if n > 64:
        return _farm_long(rows)
    if n > 32:
        return _farm_33_to_64(rows)
    by = np.uint64((int(_K2) + 2 * n) & _MASK)
    if n > 16:
        a, b = _word(rows, 0) * _K1, _word(rows, 8)
        c, d = _word(rows, n - 8) * by, _word(rows, n - 16) * _K2
        return _mix(_turn(a + b, 43) + _turn(c, 30) + d, a + _turn(b + _K2, 18) + c, by)
    if n >= 8:
        a, b = _word(rows, 0) + _K2, _word(rows, n - 8)
        return _mix(_turn(b, 37) * by + a, (_turn(a, 25) + b) * by, by)
    if n >= 4:
        return _mix((_word(rows, 0, 4) << np.uint64(3)) + np.uint64(n), _word(rows, n - 4, 4), by)
    if n > 0:
        a, b, c = (rows[:, i].astype(np.uint64) for i in (0, n >> 1, n - 1))
        y, z = a + (b << np.uint64(8)), (c << np.uint64(2)) + np.uint64(n)
        return _shift_mix(y * _K2 ^ z * _K0) * _K2
    return np.full(len(rows), _K2, np.uint64)


def _farm_33_to_64(rows: np.ndarray) -> Words:
    n = rows.shape[1]
    by = np.uint64((int(_K2) + 2 * n) & _MASK)
    a, b = _word(rows, 0) * _K2, _word(rows, 8)
    c, d = _word(rows, n - 8) * by, _word(rows, n - 16) * _K2
    y = _turn(a + b, 43) + _turn(c, 30) + d
    z = _mix(y, a + _turn(b + _K2, 18) + c, by)
    e, f = _word(rows, 16) * by, _word(rows, 24)
    g, h = (y + _word(rows, n - 32)) * by, (z + _word(rows, n - 24)) * by
    return _mix(_turn(e + f, 43) + _turn(g, 30) + h, e + _turn(f + a, 18) + g, by)


def _weak(rows: np.ndarray, at: int, a: Words, b: Words) -> tuple[Words, Words]:
    w, x, y, z = (_word(rows, at + 8 * i) for i in range(4))
    a = a + w
    b = _turn(b + a + z, 21)
    c = a
    a = a + x + y
    return a + z, b + _turn(a, 44) + c


def _farm_long(rows: np.ndarray) -> Words:
    count, n = rows.shape
    zero = np.zeros(count, np.uint64)
    y = zero + np.uint64((81 * int(_K1) + 113) & _MASK)
    z = _shift_mix(y * _K2 + np.uint64(113)) * _K2
    x = zero + np.uint64((81 * int(_K2)) & _MASK) + _word(rows, 0)
    v, w = (zero, zero), (zero, zero)

    def step(at: int, by: Words | np.uint64, nine: np.uint64) -> None:
        nonlocal x, y, z, v, w
        x = _turn(x + y + v[0] + _word(rows, at + 8), 37) * by
        y = _turn(y + v[1] + _word(rows, at + 48), 42) * by
        x = x ^ (w[1] * nine)
        y = y + v[0] * nine + _word(rows, at + 40)
        z = _turn(z + w[0], 33) * by
        v = _weak(rows, at, v[1] * by, x + w[0])
        w = _weak(rows, at + 32, z + w[1], y + _word(rows, at + 16))
        x, z = z, x

    for at in range(0, (n - 1) // 64 * 64, 64):
        step(at, _K1, np.uint64(1))
    by = _K1 + ((z & np.uint64(0xFF)) << np.uint64(1))
    w = (w[0] + np.uint64((n - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    step(n - 64, by, np.uint64(9))
    return _mix(
        _mix(v[0], w[0], by) + _shift_mix(y) * _K0 + z,
        _mix(v[1], w[1], by) + x,
        by,
    )


def _sip(rows: np.ndarray, k0: int, k1: int) -> Words:
    count, n = rows.shape
    start = (0x736F6D6570736575 ^ k0, 0x646F72616E646F6D ^ k1, 0x6C7967656E657261 ^ k0, 0x7465646279746573 ^ k1)
    v: list[Words] = [np.full(count, s, np.uint64) for s in start]
    padded = np.zeros((count, n // 8 * 8 + 8), np.uint8)
    padded[:, :n] = rows
    padded[:, -1] = n & 0xFF
    for at in range(0, padded.shape[1], 8):
        word = _word(padded, at)
        v[3] = v[3] ^ word
        v = _sip_round(_sip_round(v))
        v[0] = v[0] ^ word
    v[2] = v[2] ^ np.uint64(0xFF)
    for _ in range(4):
        v = _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_round(v: list[Words]) -> list[Words]:
    a, b, c, d = v
    a, c = a + b, c + d
    b, d = _turn(b, 51) ^ a, _turn(d, 48) ^ c
    a = _turn(a, 32)
    c, a = c + b, a + d
    b, d = _turn(b, 47) ^ c, _turn(d, 43) ^ a
    return [a, b, _turn(c, 32), d]
