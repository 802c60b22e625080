"""The page: well-formed, self-contained, escaped, and complete."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.ledger.planted import LAG, digits, hostile, planted, two_outputs
from verax.ledger.chain import Gap

VOID = {"meta", "br", "hr", "img", "input", "link"}
GAPS = {
    "digits": digits(),
    "two": two_outputs(),
    "hostile": hostile(),
    "lag": planted(1.0, ("batch", 0.1), ("averages", 0.5), ("rows", 0.0, 0.1), detail={"batch": LAG}),
    "accuracy": planted(0.7, ("dropout", 0.1, 0.01), ("rows", -0.05, 0.01), name="accuracy", direction="max"),
    "neither": planted(0.7, ("dropout", 0.1, 0.01), ("rows", -0.05, 0.01), direction=None),
    "nan": planted(math.nan, ("moved", 0.1), ("rows", 0.1, 0.1)),
    "equal": planted(1.0, ("moved", 0.0), ("rows", 0.0, 0.0)),
    "none": Gap(()),
}


class Reader(HTMLParser):
    """The page's elements, its text, and whatever would need a network or a script."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.outside: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.outside += [f"{tag} {n}={v}" for n, v in attrs if n in ("src", "href", "srcset", "data", "action")]
        self.outside += [f"{tag} {n}" for n in names if n.startswith("on")]
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            assert (self.get_starttag_text() or "").endswith("/>"), f"</{tag}> closes {self.open}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.mark.parametrize("name", GAPS)
def test_a_page_is_well_formed_and_needs_nothing_else(name: str):
    text = GAPS[name].to_html()
    read = Reader(text)
    assert text.startswith("<!DOCTYPE html>")
    assert read.outside == []
    assert not {"script", "link", "iframe", "img", "object"} & set(read.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text


@pytest.mark.parametrize("name", GAPS)
def test_a_page_says_all(name: str):
    gap = GAPS[name]
    words = Reader(gap.to_html()).words
    assert gap.verdict.sentence in words
    for reading in [link.after for link in gap.links]:
        assert str(reading) in words
    for line in gap.verdict.advice:
        assert all(part in words for part in line.split(": ", 1))
    for note in gap.notes:
        assert note in words


def test_a_page_has_every_layer():
    words = Reader(GAPS["lag"].to_html()).words
    assert "conv1/bn momentum 0.99, 45 updates seen, 459 needed 64.0%" in words
    assert "conv1/bn batch statistics train infer" in words


def test_names_are_escaped():
    text = hostile().to_html()
    assert "<script" not in text
    assert "<b>" not in text
    words = Reader(text).words
    assert 'a&b/<script>alert("x")</script>/$layer_1$' in words
    assert "1 < 2 & 3" in words


def test_every_output_has_its_own_picture():
    read = Reader(two_outputs().to_html())
    assert read.tags.count("svg") == 3
    assert read.tags.count("details") == 2


def test_worse_and_better_are_words():
    read = Reader(GAPS["accuracy"].to_html())
    assert "+0.1000 ± 0.0100 better" in read.words
    assert "-0.0500 ± 0.0100 worse" in read.words
    assert "+0.1000 ± 0.0100 higher" in Reader(GAPS["neither"].to_html()).words


@pytest.mark.parametrize("name", GAPS)
def test_a_notebook_sees_a_part_of_it(name: str):
    gap = GAPS[name]
    text = gap._repr_html_()
    read = Reader(text)
    assert gap.verdict.sentence in read.words
    assert "html" not in read.tags
    assert len(text) < len(gap.to_html())
    # Nothing outside of it is styled.
    rules = re.findall(r"([^{}]+)\{", text.split("<style>")[1].split("</style>")[0])
    assert all(part.strip().startswith(".verax") for rule in rules for part in rule.split(","))


def test_a_page_is_written_where_asked(tmp_path: Path):
    text = digits().to_html(tmp_path / "gap.html")
    assert (tmp_path / "gap.html").read_text(encoding="utf-8") == text
