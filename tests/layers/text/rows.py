"""One row for each way to make a layer of text or of whole numbers: what the table holds the outputs of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ROWS", "STRINGS", "Row"]

#: Strings of every length at which FarmHash changes its way.
STRINGS = [
    "", "a", "ab", "abc", "abcd", "abcdefg", "abcdefgh", "hello world", "0123456789abcdef", "0123456789abcdefg",
    "x" * 32, "y" * 33, "z" * 64, "w" * 65, "The quick brown fox jumps over the lazy dog. " * 3, "q" * 128, "r" * 129,
    "é", "日本語",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A layer to be made, adapted and called.

    Attributes:
        name: For the test's id, and the key in the table.
        layer: The name of its class.
        inputs: What it is called on, as nested lists.
        arguments: Of its constructor.
        adapt: What it adapts to, as nested lists; None where it does not.
        batches: Whether ``adapt`` is a list of batches, to be given as a generator.
        columns: Whether ``inputs`` are several inputs.
    """

    name: str
    layer: str
    inputs: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    adapt: Any = None
    batches: bool = False
    columns: bool = False


TEXTS = [
    "Hello,  World! It's a test-case.",
    "ÉCOLE Straße\u00a0x  a\ta\nb\x0bc",
    "",
    "the cat sat on the mat",
    'The DOG sat; the cat ran_away `now` [ok] {x|y} ~ ^ \\ "q" <b> 1+1=2 @# $5 %6 a/b',
]
SMALL = ["a b b", "b c", "d a b e"]
GRID = [["a b", "c"], ["c", "a b"]]
LETTERS = [["a", "c", "d"], ["d", "z", "b"]]
TWICE = [["a", "b", "b"], ["c", "b", "a"]]
NUMBERS = [[12, 1138, 42], [42, 1000, 36]]
COLUMN = [["A"], ["B"], ["C"], ["D"], ["E"]]
FLOATS = [[-1.5, 0.0, 0.2], [0.5, 2.5, 7.0], [-1.5, 3.0, 0.25]]


def _text() -> list[Row]:
    def row(name: str, texts: Any = None, adapt: Any = None, **arguments: Any) -> Row:
        texts = TEXTS if texts is None else texts
        learns = None if "vocabulary" in arguments else texts if adapt is None else adapt
        return Row(f"TextVectorization {name}", "TextVectorization", texts, arguments, learns)

    rows = [
        row("default"),
        row("of length 4", output_sequence_length=4),
        row("of 8 tokens", max_tokens=8, output_sequence_length=6),
        row("lower", standardize="lower", output_sequence_length=3),
        row("strip_punctuation", standardize="strip_punctuation", output_sequence_length=3),
        row("not standardized", standardize=None, output_sequence_length=3),
        row("characters", split="character", output_sequence_length=8),
        row("bigrams", ["a b c", "b c", "d"], ngrams=2),
        row("bigrams, trigrams", ["a b c d", "b c", "d"], ngrams=(2, 3)),
        row("trigrams, bigrams", ["a b c d", "b c", "d"], ngrams=(3, 2)),
        row("not split", GRID, split=None),
        row("not split, a vector", ["a b", "c", "c"], split=None),
        row("not split, multi_hot", GRID, split=None, output_mode="multi_hot"),
        row("not split, bigrams", [["a", "c"], ["c", "b"]], split=None, ngrams=2),
        row("of a column", [["a b"], ["c d"]]),
        row("vocabulary", ["b a z"], vocabulary=["a", "b"]),
        row("whole vocabulary", ["b a z"], vocabulary=["", "[UNK]", "a", "b"]),
        row("special tokens in texts", ["[UNK] x [UNK]"], standardize=None),
        row("a text", "a b zz", adapt=SMALL),
        row("idf given", ["a b b z"], output_mode="tf_idf", vocabulary=["a", "b"], idf_weights=[0.5, 0.25]),
        Row(
            "TextVectorization batches",
            "TextVectorization",
            ["a b c z"],
            {"output_mode": "tf_idf"},
            [["a b", "b"], ["c"]],
            batches=True,
        ),
    ]
    for mode in ("multi_hot", "count", "tf_idf"):
        rows.append(row(mode, SMALL, output_mode=mode))
        rows.append(row(f"{mode} padded", SMALL, output_mode=mode, max_tokens=8, pad_to_max_tokens=True))
    return rows


def _lookups() -> list[Row]:
    def strings(name: str, inputs: Any, adapt: Any = None, **arguments: Any) -> Row:
        if adapt is None:
            arguments = {"vocabulary": ["a", "b"], **arguments}
        return Row(f"StringLookup {name}", "StringLookup", inputs, arguments, adapt)

    def numbers(name: str, inputs: Any, adapt: Any = None, **arguments: Any) -> Row:
        if adapt is None:
            arguments = {"vocabulary": [12, 36], **arguments}
        return Row(f"IntegerLookup {name}", "IntegerLookup", inputs, arguments, adapt)

    many = [["a", "q", "r", "s", "t", "b", "longer than sixteen bytes"]]
    far = [[12, -7, 100, 2**40, 5, 36, 3]]
    rows = [
        strings("default", LETTERS, LETTERS),
        strings("mask", [["a", "", "q"]], LETTERS, mask_token=""),
        strings("3 oov", many, num_oov_indices=3),
        strings("3 oov, salt", many, num_oov_indices=3, salt=[1, 2]),
        strings("2 oov, mask", [["a", "q", "[M]", "s", "b"]], num_oov_indices=2, mask_token="[M]"),
        strings("no oov", [["b", "a"]], num_oov_indices=0),
        strings("inverted", [[0, 1, 2, 9]], invert=True),
        strings("inverted, mask", [[0, 1, 2, 3, 9]], invert=True, mask_token=""),
        strings("one_hot of a vector", ["a", "q"], output_mode="one_hot"),
        strings("multi_hot of a vector", ["a", "q"], output_mode="multi_hot"),
        strings("padded", [["a", "q"]], output_mode="multi_hot", max_tokens=6, pad_to_max_tokens=True),
        strings("of 3 tokens", TWICE, TWICE, max_tokens=3),
        strings("tf_idf", TWICE, TWICE, output_mode="tf_idf"),
        strings("tf_idf of a vector", [["a", "b", "q"]], ["a", "b", "b"], output_mode="tf_idf"),
        strings("tf_idf padded", TWICE, TWICE, output_mode="tf_idf", max_tokens=7, pad_to_max_tokens=True),
        strings(
            "tf_idf, mask", [["a", "b", ""]], [["a", "b", ""], ["c", "b", "a"]], output_mode="tf_idf", mask_token=""
        ),
        strings("special tokens given", [["b", "a"]], vocabulary=["[UNK]", "a", "b"]),
        strings("a string", "b"),
        Row(
            "StringLookup batches",
            "StringLookup",
            [["a", "b", "c", "q"]],
            {"output_mode": "tf_idf"},
            [["a", "b"], [["a", "c"], ["c", "b"]]],
            batches=True,
        ),
        numbers("default", NUMBERS, NUMBERS),
        numbers("as frequent", [[5, -3, 5, -3, 7]], [[5, -3, 5, -3, 7]]),
        numbers("mask", [[12, 0, 5]], NUMBERS, mask_token=0),
        numbers("3 oov", far, num_oov_indices=3),
        numbers("4 oov, farmhash", far, num_oov_indices=4, oov_method="farmhash"),
        numbers("4 oov, salt", far, num_oov_indices=4, oov_method="farmhash", salt=9),
        numbers("inverted", [[0, 1, 2, 9]], invert=True),
        numbers("idf", [[12, 36, 36], [7, 12, 7]], idf_weights=[0.25, 0.75], output_mode="tf_idf"),
        numbers("idf of all", [[12, 7]], vocabulary=[-1, 12], idf_weights=[0.9, 0.25], output_mode="tf_idf"),
        numbers("one_hot of a column", [[12], [7]], output_mode="one_hot"),
        numbers("one_hot of a grid", [[[12, 36], [7, 12]]], output_mode="one_hot"),
        numbers("beyond int32", [[2**40, 36, 1]], vocabulary=[2**40, 36]),
    ]
    for mode in ("one_hot", "multi_hot", "count"):
        masked = [["a", "b", "b", ""], ["q", "a", "", ""]]
        rows.append(strings(f"{mode}, mask", masked, output_mode=mode, mask_token=""))
        rows.append(numbers(mode, [[12, 36, 36], [7, 12, 12]], output_mode=mode))
    return rows


def _hashing() -> list[Row]:
    def row(name: str, inputs: Any, bins: int = 11, **arguments: Any) -> Row:
        return Row(f"Hashing {name}", "Hashing", inputs, {"num_bins": bins, **arguments})

    def cross(name: str, *columns: Any, bins: int = 1000, **arguments: Any) -> Row:
        arguments = {"num_bins": bins, **arguments}
        return Row(f"HashedCrossing {name}", "HashedCrossing", list(columns), arguments, columns=True)

    whole = [[0, 1, -1, 12], [100, 2**31 - 1, -(2**31), 7]]
    letters = ["A", "B", "A", "B", "A"]
    rows = [
        row("of every length", STRINGS, 1 << 30),
        row("of every length, salt", STRINGS, 1 << 30, salt=[133, 137]),
        row("of every length, salts of any sign", STRINGS, 1 << 30, salt=[-5, 1 << 62]),
        row("column", COLUMN, 3),
        row("column, a salt", COLUMN, 3, salt=133),
        row("mask", [["A"], ["B"], [""], ["C"]], 3, mask_value=""),
        row("whole numbers", whole),
        row("whole numbers, mask", whole, mask_value=0),
        row("fractions", [[0.5, 1.7, -1.2]]),
        row("one_hot of a column", COLUMN, 4, output_mode="one_hot"),
        cross("of text", letters, ["x", "y", "z", "x", "y"]),
        cross("of text and numbers", letters, [101, 101, 101, 102, 102]),
        cross("of numbers", [1, 2, -3], [101, 101, 101]),
        cross("of three", ["A", "B"], [5, 6], [7, -8]),
        cross("of columns", [["A"], ["B"]], [[1], [2]]),
        cross("one_hot", letters, [101, 101, 101, 102, 102], bins=5, output_mode="one_hot"),
    ]
    for mode in ("one_hot", "multi_hot", "count"):
        rows.append(row(mode, [["A", "B"], ["C", "A"]], 4, output_mode=mode))
    return rows


def _bins() -> list[Row]:
    def row(name: str, adapt: Any, batches: bool = False, **arguments: Any) -> Row:
        return Row(f"Discretization {name}", "Discretization", FLOATS, arguments, adapt, batches)

    values = [((7 * i) % 101) / 10.0 - 4.0 for i in range(300)]
    return [
        row("of 4 bins", FLOATS, num_bins=4),
        row("of 1 bin", FLOATS, num_bins=1),
        row("of more bins than values", [[1.0], [2.0]], num_bins=4),
        row("of many values", values, num_bins=5),
        row("coarse", values, num_bins=3, epsilon=0.1),
        row("batches", [values[:100], values[100:170], values[170:]], batches=True, num_bins=7, epsilon=0.02),
    ]


ROWS = [*_text(), *_lookups(), *_hashing(), *_bins()]
