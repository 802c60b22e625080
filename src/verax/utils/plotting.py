"""A model as a picture: plot_model and model_to_dot."""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from verax.errors import InputError, MissingExtraError, UnknownNameError, VeraxWarning
from verax.frame.files import written_whole
from verax.frame.symbolic import Node, is_symbolic
from verax.layers import InputLayer, Layer
from verax.model.model import Model
from verax.model.operations import name_of
from verax.model.sequential import Sequential
from verax.utils.drawing import Box, Diagram, svg_of

__all__ = ["Picture", "model_to_dot", "plot_model"]

_RANKDIRS = ("TB", "BT", "LR", "RL")


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows.

    Attributes:
        svg: The picture.
        path: The file it was written to.
    """

    svg: str
    path: Path

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Picture in {str(self.path)!r}>"


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    **kwargs: Any,
) -> Picture:
    """Draw a model's layers and what they are called on.

    Args:
        model: A functional model or a ``Sequential``; any other model is one box.
        to_file: The file. ``.svg`` needs nothing else; ``.png``, ``.pdf`` and the other forms of Graphviz are drawn
            by it, through pydot. Where these are not installed the picture is written as ``.svg`` beside it, with a
            warning.
        show_shapes: Shapes of inputs and outputs, None for an unknown size.
        show_dtype: The dtype a layer computes in.
        show_layer_names: The layers' names.
        rankdir: Where arrows lead: ``"TB"`` (down), ``"BT"``, ``"LR"``, ``"RL"``.
        expand_nested: Draw the layers of models inside, too.
        dpi: Dots an inch of a ``.png``; an ``.svg`` is larger in proportion to it (200: as large as its letters need).
        show_layer_activations: The activation of layers that have one.
        show_trainable: Whether weights are trained; frozen layers are grey.
        kwargs: ``show_layer_activations`` and the like of later versions of Keras are refused by name.

    Returns:
        The picture, which a notebook shows.

    Differs from Keras: the picture is drawn without Graphviz where that is not installed; unbuilt models are drawn
    without shapes.

    >>> import tempfile
    >>> model = verax.Sequential([verax.Input((4,)), verax.layers.Dense(1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     picture = plot_model(model, f"{folder}/model.svg", show_shapes=True)
    >>> "(None, 4)" in picture.svg
    True
    """
    if kwargs:
        raise UnknownNameError.among("argument of plot_model", next(iter(kwargs)), ["show_shapes", "rankdir", "dpi"])
    options = _Options(show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable)
    _check_rankdir(rankdir)
    svg = svg_of(_diagram(model, options), rankdir, dpi / 200, f"The layers of {model.name}")
    path = Path(to_file)
    if path.suffix != ".svg" and path.suffix:
        if shutil.which("dot") and _pydot() is not None:
            graph = _dot(_diagram(model, options), rankdir, dpi)
            path.parent.mkdir(parents=True, exist_ok=True)
            graph.write(str(path), format=path.suffix[1:])
            return Picture(svg, path)
        text = f"plot_model writes {path.suffix} files with Graphviz and pydot, which are not installed: "
        path = path.with_suffix(".svg")
        warnings.warn(f"{text}the picture is in {path}. Pass to_file='....svg' to ask for that.", VeraxWarning, 2)
    path = path if path.suffix else path.with_suffix(".svg")
    with written_whole(path) as file:
        file.write(svg.encode())
    return Picture(svg, path)


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Any:
    """The picture of ``plot_model`` as a ``pydot.Dot``, to be changed before Graphviz draws it.

    Args:
        model, show_shapes, show_dtype, show_layer_names, rankdir, expand_nested: As in ``plot_model``.
        dpi, show_layer_activations, show_trainable: As in ``plot_model``.
        subgraph: Return a ``pydot.Cluster``, which another graph may take in.

    Raises:
        MissingExtraError: pydot is not installed.
    """
    if _pydot() is None:
        raise MissingExtraError.of("pydot", extra="dot", asked="model_to_dot makes a graph of pydot.")
    options = _Options(show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations, show_trainable)
    _check_rankdir(rankdir)
    return _dot(_diagram(model, options), rankdir, dpi, cluster=model.name if subgraph else None)


@dataclass(frozen=True)
class _Options:
    shapes: bool
    dtype: bool
    names: bool
    nested: bool
    activations: bool
    trainable: bool


def _check_rankdir(rankdir: str) -> None:
    if rankdir not in _RANKDIRS:
        raise UnknownNameError.among("rankdir", rankdir, _RANKDIRS)


# ---- what to draw ----------------------------------------------------------------------------------------------------


def _diagram(model: Any, options: _Options) -> Diagram:
    if not isinstance(model, Layer):
        raise InputError(
            "plot_model draws a model.", received=f"{type(model).__name__}", do="Pass a Sequential or a Model."
        )
    if isinstance(model, Sequential):
        return _chain(model, options)
    graph = model._model.graph if isinstance(model, Model) else None
    if graph is None:
        return Diagram([_box(model, [], [], options)])
    starts = {id(t.node): t.node for t in jax.tree.leaves(graph.inputs, is_leaf=is_symbolic)}
    return _of_nodes([*starts.values(), *graph.nodes], jax.tree.leaves(graph.outputs, is_leaf=is_symbolic), options)


def _chain(model: Sequential, options: _Options) -> Diagram:
    start = model._model.inputs if model._start is None else model._start
    boxes: list[Box] = []
    x = start if is_symbolic(start) else None
    if model._start is not None:
        boxes.append(_box(model._start.node.target, [], [model._start], options))
    for layer in model.layers:
        y = None if x is None else layer(x)
        boxes.append(_box(layer, [] if x is None else [x], jax.tree.leaves(y, is_leaf=is_symbolic), options))
        x = y
    return Diagram(boxes, [(i, i + 1) for i in range(len(boxes) - 1)])


def _of_nodes(nodes: list[Node], outputs: list[Any], options: _Options) -> Diagram:
    made: dict[int, dict[int, Any]] = {}  # node -> index -> what it made
    for tensor in [*outputs, *(t for node in nodes for t in node.inputs())]:
        made.setdefault(id(tensor.node), {})[tensor.index] = tensor
    number: dict[int, int] = {}  # a layer, or a call of a function -> its box
    diagram = Diagram()
    known = {id(node) for node in nodes}
    for node in nodes:
        key = id(node.target) if isinstance(node.target, Layer) else id(node)
        found = [made.get(id(node), {})[i] for i in sorted(made.get(id(node), {}))]
        if key not in number:
            number[key] = len(diagram.boxes)
            diagram.boxes.append(_box(node.target, node.inputs(), found, options))
        for tensor in node.inputs():
            if tensor.node is not None and id(tensor.node) in known and node is not tensor.node:
                source = tensor.node.target if isinstance(tensor.node.target, Layer) else tensor.node
                diagram.arrows.append((number[id(source)], number[key]))
    return diagram


def _box(target: Any, inputs: list[Any], outputs: list[Any], options: _Options) -> Box:
    if not isinstance(target, Layer):
        name = name_of(target)
        return Box(name, _shape_lines(inputs, outputs) if options.shapes else [], "function")
    kind = type(target).__name__
    box = Box(f"{target.name} ({kind})" if options.names else kind, kind="layer")
    if isinstance(target, InputLayer):
        box.kind, inputs = "input", []
    if options.activations and getattr(target, "activation", None) is not None:
        activation: Any = target.activation  # pyright: ignore[reportAttributeAccessIssue]
        box.lines.append(f"activation: {getattr(activation, '__name__', type(activation).__name__)}")
    if options.shapes:
        box.lines += _shape_lines(inputs, outputs)
    if options.dtype:
        box.lines.append(f"dtype: {target.compute_dtype}")
    if options.trainable and target.weights:
        trained = bool(target.trainable_weights)
        box.lines.append("trained" if trained else "frozen")
        box.kind = box.kind if trained else "frozen"
    if isinstance(target, Model):
        box.kind = "model"
        if options.nested and (isinstance(target, Sequential) or target._model.graph is not None):
            box.inside = _diagram(target, options)
    return box


def _shape_lines(inputs: list[Any], outputs: list[Any]) -> list[str]:
    def shown(tensors: list[Any]) -> str:
        return ", ".join(str(tensor.shape) for tensor in tensors)

    lines = [f"in: {shown(inputs)}"] if inputs else []
    return [*lines, f"out: {shown(outputs)}"] if outputs else lines


# ---- for Graphviz ----------------------------------------------------------------------------------------------------


def _pydot() -> Any:
    try:
        import pydot  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    except ImportError:
        return None
    return pydot


def _dot(diagram: Diagram, rankdir: str, dpi: int, cluster: str | None = None) -> Any:
    pydot = _pydot()
    graph = pydot.Cluster(graph_name=cluster) if cluster else pydot.Dot()
    graph.set("rankdir", rankdir)
    graph.set("dpi", str(dpi))
    graph.set_node_defaults(shape="box", style="rounded", fontname="Helvetica")
    _fill(pydot, graph, diagram, "n")
    return graph


def _fill(pydot: Any, graph: Any, diagram: Diagram, prefix: str) -> list[tuple[str, str]]:
    """Add boxes and arrows; (the first, the last box) of each, between which arrows of a box with others inside go."""
    ends: list[tuple[str, str]] = []
    for i, box in enumerate(diagram.boxes):
        name = f"{prefix}_{i}"
        if box.inside is not None and box.inside.boxes:
            inner = pydot.Cluster(graph_name=name, label=box.title)
            inside = _fill(pydot, inner, box.inside, name)
            graph.add_subgraph(inner)
            ends.append((inside[0][0], inside[-1][1]))
        else:
            graph.add_node(pydot.Node(name, label="\\n".join([box.title, *box.lines])))
            ends.append((name, name))
    for a, b in diagram.arrows:
        graph.add_edge(pydot.Edge(ends[a][1], ends[b][0]))
    return ends
