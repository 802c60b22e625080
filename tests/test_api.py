"""The public surface: what is importable is what is listed, and every error is of one tree and one shape."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import verax
from verax import errors

SRC = Path(verax.__file__).parent
#: PyTorch is not installed here; make test-torch looks at that room.
ELSEWHERE = {"torch"}
ROOMS = [n for n in verax.__all__ if isinstance(getattr(verax, n), ModuleType) and n not in ELSEWHERE]
ERRORS = {n: v for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.VeraxError)}


def everything_in(room: str) -> list[ModuleType]:
    """The module of a room and, of a package, the modules in it."""
    module = importlib.import_module(f"verax.{room}")
    inner = [p.stem for p in Path(str(module.__file__)).parent.glob("*.py")] if hasattr(module, "__path__") else []
    return [module, *(importlib.import_module(f"verax.{room}.{stem}") for stem in sorted(inner) if stem != "__init__")]


def defined_in(module: ModuleType) -> set[str]:
    """The public classes and functions a module defines itself."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", verax.__all__)
def test_every_public_name_resolves(name: str):
    assert getattr(verax, name) is not None


def test_dir_is_all():
    assert dir(verax) == sorted(verax.__all__)
    assert len(set(verax.__all__)) == len(verax.__all__)


def test_what_is_not_listed_does_not_exist():
    with pytest.raises(AttributeError, match="has no attribute 'Sequentail'"):
        verax.Sequentail


def test_every_lazy_name_is_told_to_type_checkers():
    tree = ast.parse((SRC / "__init__.py").read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    told = {alias.name for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert told == set(verax.__all__) - {"__version__"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_public_room_lists_what_it_offers(room: str):
    module = importlib.import_module(f"verax.{room}")
    listed = module.__all__
    assert listed, f"verax.{room} is public and offers nothing"
    assert len(set(listed)) == len(listed)
    for name in listed:
        assert not name.startswith("_")
        assert hasattr(module, name)
    assert defined_in(module) <= set(listed), "public by accident: list it, or begin its name with _"


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_lists_what_it_defines(room: str):
    for module in everything_in(room):
        if hasattr(module, "__all__"):
            assert set(module.__all__) <= set(dir(module)), module.__name__


FAMILIES = {
    "layers": "Layer",
    "losses": "Loss",
    "metrics": "Metric",
    "optimizers": "Optimizer",
    "callbacks": "Callback",
    "initializers": "Initializer",
    "regularizers": "Regularizer",
    "constraints": "Constraint",
}


#: What several members are made of, and nobody uses by itself.
INNER = {"Adapting", "BestCallback", "Cell", "CellLayer", "ConvLSTMCell", "CustomScaleLayer", "ForgetBias",
         "FunctionMetric", "GroupedQueryAttention", "IndexLookup", "LayerScale", "LossMetric", "OnHost", "PairedLoss",
         "SavingCallback", "StochasticDepth"}  # fmt: skip


@pytest.mark.parametrize("room", FAMILIES)
def test_no_member_of_a_family_is_forgotten(room: str):
    offered = importlib.import_module(f"verax.{room}")
    base = getattr(offered, FAMILIES[room])
    members = {
        name
        for module in everything_in(room)
        for name in defined_in(module)
        if isinstance(getattr(module, name), type) and issubclass(getattr(module, name), base)
    }
    assert members - INNER <= set(offered.__all__)


# ---- errors ----------------------------------------------------------------------------------------------------------


def drawn_tree() -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """name -> (the error it stands under, its builtins), as the docstring draws it."""
    found: dict[str, tuple[str | None, tuple[str, ...]]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([ │├└─]*)(\w+Error)(?: \((\w+)\))?(?:\s|$)", line)
        if match is None:
            continue
        at = len(match[1])
        above = [(column, name) for column, name in above if column < at]
        found[match[2]] = (above[-1][1] if above else None, (match[3],) if match[3] else ())
        above.append((at, match[2]))
    return found


def test_the_drawn_tree_is_the_real_one():
    real = {}
    for name, error in ERRORS.items():
        parent = None if error is errors.VeraxError else error.__bases__[0].__name__
        plain = tuple(b.__name__ for b in error.__bases__[1:] if b.__module__ == "builtins")
        real[name] = (parent, plain)
    assert drawn_tree() == real


def raised() -> list[tuple[str, int, ast.Call]]:
    calls = []
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                calls.append((str(path.relative_to(SRC)), node.lineno, node))
    return calls


def test_every_error_says_what_was_received_or_why():
    silent = [
        f"{path}:{line}"
        for path, line, call in raised()
        if not {k.arg for k in call.keywords} & {"received", "because", None}
    ]
    assert not silent


def test_every_error_is_of_the_tree():
    # Python's own protocols: a missing attribute or item, the end of an iterator, a call that does not fit.
    tolerated = {"AttributeError", "IndexError", "KeyError", "NotImplementedError", "StopIteration", "TypeError"}
    strangers = []
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                name = node.exc.func.id
                if isinstance(getattr(builtins, name, None), type) and name not in tolerated:
                    strangers.append(f"{path.relative_to(SRC)}:{node.lineno} raises {name}")
    assert not strangers


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_answers_four_questions(name: str):
    error = ERRORS[name]("What was asked.", received="what came", because="why not", do="Do this.")
    assert (error.asked, error.received, error.because, error.do) == (
        "What was asked.",
        "what came",
        "why not",
        "Do this.",
    )
    assert str(error).splitlines() == [
        "What was asked.",
        "  Received: what came",
        "  Because:  why not",
        "  Do:       Do this.",
    ]
