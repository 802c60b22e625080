"""Layers that scale numbers, put them into bins, or encode classes."""

from __future__ import annotations

from tests.layers.cases.base import IMAGE, STEPS, Case

__all__ = ["CASES"]

PAIR = (2, 6)

CASES = [
    Case("Normalization", lambda m: m.Normalization(mean=0.5, variance=4.0), STEPS),
    Case("Normalization each", lambda m: m.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1, 2, 3, 0.0]), STEPS),
    Case("Normalization axes", lambda m: m.Normalization((1, -1), mean=[0.1, 0.2, 0.3, 0.4], variance=[1] * 4), STEPS),
    Case("Normalization of all", lambda m: m.Normalization(None, mean=3.0, variance=2.0), IMAGE, "uint8"),
    Case("Normalization inverted", lambda m: m.Normalization(mean=0.5, variance=4.0, invert=True), STEPS),
    Case("Discretization one_hot", lambda m: m.Discretization([-0.5, 0.0, 0.5], output_mode="one_hot"), PAIR),
    Case("Discretization multi_hot", lambda m: m.Discretization([-0.5, 0.0, 0.5], output_mode="multi_hot"), PAIR),
    Case("Discretization count", lambda m: m.Discretization([-0.5, 0.5], output_mode="count"), PAIR),
    Case("Discretization count uint8", lambda m: m.Discretization([50.0, 200.0], output_mode="count"), PAIR, "uint8"),
    Case("CategoryEncoding", lambda m: m.CategoryEncoding(5), PAIR, "int32"),
    Case("CategoryEncoding of too few", lambda m: m.CategoryEncoding(num_tokens=3), PAIR, "int32"),
    Case("CategoryEncoding count", lambda m: m.CategoryEncoding(5, "count"), PAIR, "int32"),
    Case("CategoryEncoding one_hot", lambda m: m.CategoryEncoding(5, output_mode="one_hot"), PAIR, "int32"),
    Case("CategoryEncoding one_hot, a column", lambda m: m.CategoryEncoding(5, "one_hot"), (2, 1), "int32"),
    Case("CategoryEncoding one_hot, rank 3", lambda m: m.CategoryEncoding(5, "one_hot"), (2, 3, 4), "int32"),
]
