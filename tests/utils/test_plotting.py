"""plot_model and model_to_dot: what is drawn, that nothing overlaps, and which files are written."""

from __future__ import annotations

import itertools
import re
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import verax
from verax import layers
from verax.errors import InputError, MissingExtraError, UnknownNameError, VeraxWarning
from verax.utils import model_to_dot, plot_model
from verax.utils.drawing import Box, Diagram, svg_of

SVG = "{http://www.w3.org/2000/svg}"


def branched():
    verax.utils.clear_session()
    a, b = verax.Input((8,), name="a"), verax.Input((4,), name="b", dtype="int32")
    x = layers.Dense(4, activation="relu", name="first")(a)
    for _ in range(2):
        x = layers.Add()([x, layers.Dense(4)(layers.Dropout(0.1)(x))])
    i = verax.Input((4,))
    inner = verax.Model(i, layers.Dense(2, name="within")(i), name="inner")
    shared = layers.Dense(4, name="shared")
    y = shared(shared(verax.ops.cast(b, "float32")) * 2.0)
    return verax.Model([a, b], [inner(layers.Concatenate()([x, y])[:, :4]), y], name="branched")


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def boxes(svg):
    found = [e.attrib for e in ElementTree.fromstring(svg).iter(f"{SVG}rect") if "rx" in e.attrib]
    return [tuple(float(b[k]) for k in ("x", "y", "width", "height")) for b in found]


def test_every_layer_is_one_box_and_every_call_an_arrow(tmp_path):
    model = branched()
    picture = plot_model(model, tmp_path / "m.svg", show_layer_names=True)
    assert (tmp_path / "m.svg").read_text() == picture.svg == picture._repr_svg_()
    shown = texts(picture.svg)
    assert [t for t in shown if t.endswith(")")].count("shared (Dense)") == 1
    assert set(shown) >= {"a (InputLayer)", "inner (Model)", "get_item", "cast", "multiply", "add (Add)"}
    assert len(shown) == len(boxes(picture.svg)) == 15
    paths = picture.svg.count("marker-end")
    assert paths == 17  # the arrow from shared to itself is the multiplication's


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_boxes_do_not_overlap_and_stand_within_the_picture(tmp_path, rankdir):
    svg = plot_model(branched(), tmp_path / "m.svg", show_shapes=True, rankdir=rankdir).svg
    _, _, width, height = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())
    placed = boxes(svg)
    for x, y, w, h in placed:
        assert min(x, y) >= 0
        assert x + w <= width + 1
        assert y + h <= height + 1
    for (x, y, w, h), (p, q, r, s) in itertools.combinations(placed, 2):
        assert x + w <= p or p + r <= x or y + h <= q or q + s <= y
    first, last = placed[0], placed[-1]
    along, sign = (1 if rankdir in ("TB", "BT") else 0), (1 if rankdir in ("TB", "LR") else -1)
    assert sign * first[along] < sign * last[along]


def test_options_say_what_is_asked(tmp_path):
    model = branched()
    model.get_layer("first").trainable = False
    plain = texts(plot_model(model, tmp_path / "m.svg").svg)
    assert not any(":" in text or text in ("trained", "frozen") for text in plain)
    shown = texts(plot_model(model, tmp_path / "m.svg", show_shapes=True).svg)
    assert {"in: (None, 8)", "out: (None, 4)", "in: (None, 4), (None, 4)"} <= set(shown)
    assert "dtype: int32" in texts(plot_model(model, tmp_path / "m.svg", show_dtype=True).svg)
    assert "activation: relu" in texts(plot_model(model, tmp_path / "m.svg", show_layer_activations=True).svg)
    trained = texts(plot_model(model, tmp_path / "m.svg", show_trainable=True).svg)
    assert (trained.count("frozen"), "trained" in trained) == (1, True)
    inner = texts(plot_model(model, tmp_path / "m.svg", expand_nested=True, show_layer_names=True).svg)
    assert "within (Dense)" in inner
    assert "within (Dense)" not in texts(plot_model(model, tmp_path / "m.svg", show_layer_names=True).svg)
    small, large = (plot_model(model, tmp_path / "m.svg", dpi=dpi).svg for dpi in (100, 200))
    assert [2 * int(n) - int(m) in (-1, 0, 1) for n, m in zip(
        re.findall(r'(?:width|height)="(\d+)"', small)[:2], re.findall(r'(?:width|height)="(\d+)"', large)[:2],
        strict=True)] == [True, True]  # fmt: skip


def test_sequential_and_own_models(tmp_path):
    built = verax.Sequential([verax.Input((3,)), layers.Dense(2), layers.Dense(1)])
    assert texts(plot_model(built, tmp_path / "m.svg", show_shapes=True).svg)[:2] == ["InputLayer", "out: (None, 3)"]
    unbuilt = verax.Sequential([layers.Dense(2), layers.Dense(1)])
    assert texts(plot_model(unbuilt, tmp_path / "m.svg", show_shapes=True).svg) == ["Dense", "Dense"]
    unbuilt(np.ones((1, 3), "float32"))

    class Own(verax.Model):
        def call(self, x):
            return x

    assert texts(plot_model(Own(name="mine"), tmp_path / "m.svg", show_layer_names=True).svg) == ["mine (Own)"]


def test_names_are_escaped():
    svg = svg_of(Diagram([Box("<a & b>")]))
    assert texts(svg) == ["<a & b>"]


def test_without_graphviz_a_png_becomes_an_svg_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.warns(VeraxWarning, match=r"m\.svg"):
        picture = plot_model(branched(), tmp_path / "m.png")
    assert picture.path == tmp_path / "m.svg"
    assert picture.path.exists()
    assert plot_model(branched(), tmp_path / "plain").path.name == "plain.svg"


def test_without_pydot_model_to_dot_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydot", None)
    with pytest.raises(MissingExtraError, match=r"verax\[dot\]"):
        model_to_dot(branched())


def test_with_pydot_the_graph_has_all_boxes_and_arrows():
    pydot = pytest.importorskip("pydot")
    graph = model_to_dot(branched(), show_layer_names=True)
    assert isinstance(graph, pydot.Dot)
    assert (len(graph.get_nodes()) - 1, len(graph.get_edges())) == (15, 18)
    assert isinstance(model_to_dot(branched(), subgraph=True), pydot.Cluster)
    assert len(model_to_dot(branched(), expand_nested=True).get_subgraphs()) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"rankdir": "UP"}, UnknownNameError, "rankdir"),
        ({"show_shape": True}, UnknownNameError, "show_shapes"),
        ({"model": 3}, InputError, "Sequential"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, error, text):
    with pytest.raises(error, match=text):
        plot_model(**{"model": branched(), "to_file": tmp_path / "m.svg", **arguments})
