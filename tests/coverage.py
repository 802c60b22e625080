"""What of Keras' public names Verax has, read from the tests that compare the two; it writes docs/coverage.md.

    python -m tests.coverage

A name counts as compared where a test calls Keras by it as its oracle: written out (``keras.utils.pad_sequences``), as
a string in a table whose names go through ``getattr(keras.losses, name)``, or as a row of ``tests/layers/cases``.
"""

from __future__ import annotations

import ast
import types
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verax
from tests.layers.cases import CASES
from tests.oracle import oracle

__all__ = ["DIFFERS", "NOT_YET", "PAGE", "compared", "exists", "page", "public"]

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "coverage.md"

#: name, or the beginning of names that ends with a point -> why it is left out, or is another thing than in Keras.
DIFFERS: dict[str, str] = {}

#: name, or the beginning of names that ends with a point -> what will bring it.
NOT_YET: dict[str, str] = {}


def public() -> dict[str, list[str]]:
    """Every public name of Keras, without ``keras.``: the shortest one of an object -> all of them."""

    def walk(module: types.ModuleType, prefix: str) -> Iterator[tuple[str, Any]]:
        for name in sorted(vars(module)):
            value = getattr(module, name)
            if name.startswith("_") or name in ("src", "api"):
                continue
            if not isinstance(value, types.ModuleType):
                yield prefix + name, value
            elif value.__name__ == f"keras.{prefix}{name}":
                yield from walk(value, f"{prefix}{name}.")

    with oracle() as keras:
        by_object: dict[Any, list[str]] = defaultdict(list)
        for path, value in walk(keras, ""):
            own = getattr(value, "__name__", None)
            by_object[id(value) if callable(value) else path].append(path)
            by_object[id(value) if callable(value) else path].sort(
                key=lambda p: (p.count("."), p.split(".")[-1] != own, "legacy" in p, p)
            )
        return dict(sorted((paths[0], paths) for paths in by_object.values()))


def exists(path: str) -> bool:
    """Whether Verax has the name."""
    value: Any = verax
    for part in path.split("."):
        value = getattr(value, part, None)
    return value is not None


def compared() -> dict[str, str]:
    """name -> the file of tests that calls Keras by it as its oracle."""
    found: dict[str, str] = {}
    with oracle() as keras:
        for case in CASES:
            found.setdefault(f"layers.{type(case.make(keras.layers)).__name__}", "layers/cases")
        for file in sorted(TESTS.rglob("test_*.py")):
            for path in _called(ast.parse(file.read_text()), keras):
                found.setdefault(path, file.relative_to(TESTS).as_posix())
    return found


def _called(tree: ast.Module, keras: types.ModuleType) -> Iterator[str]:
    rooms: set[str] = set()
    strings: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = _path(node)
            if path.startswith("keras."):
                yield path.removeprefix("keras.")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.update(node.value.replace(",", " ").split())
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            path = _path(node.args[0])
            if path.startswith("keras."):
                rooms.add(path.removeprefix("keras."))
    for room in rooms:
        module: Any = keras
        for part in room.split("."):
            module = getattr(module, part)
        yield from (f"{room}.{name}" for name in strings if name.isidentifier() and hasattr(module, name))


def _path(node: ast.AST) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def said(table: dict[str, str], paths: list[str]) -> str:
    """What a table says of an object by any of its names."""
    for path in paths:
        for key, why in table.items():
            if path == key or (key.endswith(".") and path.startswith(key)):
                return why
    return ""


def states() -> dict[str, tuple[str, str, list[str]]]:
    """name -> ("equal" | "differs" | "here" | "not yet", why or where, all names)."""
    tests = compared()
    found: dict[str, tuple[str, str, list[str]]] = {}
    for name, paths in public().items():
        where = next((tests[p] for p in paths if p in tests), "")
        if said(DIFFERS, paths):
            found[name] = ("differs", said(DIFFERS, paths), paths)
        elif not all(exists(p) for p in paths):
            missing = [p for p in paths if not exists(p)]
            why = said(NOT_YET, missing)
            found[name] = ("not yet", why or ("" if len(missing) == len(paths) else ", ".join(missing)), paths)
        else:
            found[name] = ("equal", where, paths) if where else ("here", "", paths)
    return found


WORDS = {
    "equal": "equal",
    "differs": "differs on purpose",
    "here": "here; no row compares it",
    "not yet": "not yet",
}


def page() -> str:
    """docs/coverage.md."""
    found = states()
    rooms: dict[str, list[str]] = defaultdict(list)
    for name in found:
        rooms[name.rpartition(".")[0] or "keras"].append(name)
    count = {state: sum(s == state for s, _, _ in found.values()) for state in WORDS}
    with oracle() as keras:
        version = keras.__version__
    lines = [
        "# Keras' names",
        "",
        f"Every public name of Keras {version}: {len(found)} objects, some under several names. *Equal*: a test calls",
        "it in both libraries and compares; the test file stands beside it. Written by `python -m tests.coverage`.",
        "",
        "| | " + " | ".join(WORDS.values()) + " |",
        "|---|" + "---:|" * len(WORDS),
        "| **all** | " + " | ".join(str(count[s]) for s in WORDS) + " |",
    ]
    for room, names in sorted(rooms.items()):
        lines.append(f"| {room} | " + " | ".join(str(sum(found[n][0] == s for n in names)) for s in WORDS) + " |")
    for room, names in sorted(rooms.items()):
        lines += ["", f"## {room}", "", "| name | | |", "|---|---|---|"]
        for name in names:
            state, why, paths = found[name]
            short = name.rpartition(".")[2]
            others = [p.rpartition(".")[2] for p in paths[1:]]
            also = sorted({o for o in others if o != short})
            also_said = f" ({', '.join(f'`{o}`' for o in also)})" if also else ""
            lines.append(f"| `{short}`{also_said} | {WORDS[state]} | {why} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.name} written")
