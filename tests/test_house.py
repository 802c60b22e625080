"""The house's walls: imports go down only, rooms stay small, and opening the front door costs nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MODULES = {".".join(p.relative_to(SRC).with_suffix("").parts): p for p in sorted(SRC.rglob("*.py"))}

#: Each room, lowest first, and the rooms it may import: all of them stand above in this table.
HOUSE = {
    "errors": (),
    "_version": (),
    "ledger": ("errors",),
    # Loops that Verax does not run, and the frameworks they are written in; none of these knows JAX or a layer of ours.
    "watch": ("errors", "ledger"),
    "torch": ("errors", "ledger", "watch"),
    "keras": ("errors", "ledger", "watch"),
    "frame": ("errors", "ledger"),
    # The parts. Each knows the frame and the errors; what it may know of another part stands here.
    "activations": ("errors", "frame"),
    "initializers": ("errors", "frame"),
    "regularizers": ("errors", "frame"),
    "constraints": ("errors", "frame"),
    "ops": ("errors", "frame", "activations"),
    "losses": ("errors", "ledger", "frame", "activations"),
    "metrics": ("errors", "ledger", "frame", "activations", "losses"),
    "optimizers": ("errors", "frame"),
    "layers": ("errors", "frame", "activations", "initializers", "regularizers", "constraints", "ops"),
    # The engine knows no part: layers, losses and metrics come in as values.
    "engine": ("errors", "ledger", "frame"),
    "data": ("errors", "frame"),
    # Forms of files: plain arrays and bytes.
    "formats": ("errors", "frame"),
    "callbacks": ("errors", "ledger", "frame", "formats"),
    "export": ("errors", "_version", "frame", "layers", "engine", "formats"),
    "model": ("errors", "ledger", "frame", "ops", "losses", "metrics", "optimizers", "layers", "engine", "data",
              "callbacks", "formats", "export", "_version"),
    # The edges: other names, data to try things on.
    "config": ("errors", "frame", "engine"),
    "backend": ("errors", "frame", "ops", "config"),
    "mixed_precision": ("frame", "optimizers"),
    "random": ("errors", "frame", "ops"),
    "tree": ("errors", "frame"),
    "dtype_policies": ("frame",),
    "models": ("model",),
    "distribution": ("errors", "frame"),
    "wrappers": ("errors", "models"),
    "saving": ("formats", "frame", "losses", "metrics", "model", "models", "optimizers"),
    "utils": ("errors", "frame", "layers", "callbacks", "model", "saving"),
    "applications": ("errors", "frame", "activations", "initializers", "ops", "layers", "model", "utils"),
    "datasets": ("errors", "utils"),
    "preprocessing": ("utils",),
    "testing": ("errors", "ledger", "watch", "frame", "losses", "metrics"),
    # The front door opens the rooms lazily; for type checkers it names them all.
    "verax": (),
    "script": ("errors", "ledger"),
    "cli": ("verax", "script", "errors", "formats", "ledger", "watch", "torch", "keras"),
    "__main__": ("cli",),
}  # fmt: skip
HOUSE["verax"] = tuple(HOUSE)[: tuple(HOUSE).index("verax")]

LINES = 450


@dataclass(frozen=True)
class Import:
    """One import statement: which module says it, what it names, and where it stands."""

    module: str
    target: str
    line: int
    in_function: bool
    for_types: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(module, ast.parse(MODULES[module].read_text()), False, False))


def _imports(module: str, node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(module, alias.name, node.lineno, in_function, for_types)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}:{node.lineno} is a relative import"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            target = inner if inner in MODULES or f"{inner}.__init__" in MODULES else str(node.module)
            yield Import(module, target, node.lineno, in_function, for_types)
    inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    typing = for_types or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    for child in ast.iter_child_nodes(node):
        yield from _imports(module, child, inside, typing)


def room(module: str) -> str:
    parts = module.removesuffix(".__init__").split(".")
    return parts[1] if len(parts) > 1 else "verax"


def own(target: str) -> bool:
    return target.split(".")[0] == "verax"


def test_every_room_stands_in_the_table():
    assert {room(module) for module in MODULES} == set(HOUSE)


@pytest.mark.parametrize("name", HOUSE)
def test_the_table_itself_goes_down_only(name: str):
    above = list(HOUSE)[: list(HOUSE).index(name)]
    assert set(HOUSE[name]) <= set(above)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str):
    here = room(module)
    allowed = {here, *HOUSE[here]}
    upward = [str(i) for i in imports(module) if own(i.target) and room(i.target) not in allowed]
    assert not upward, f"{here} may import {sorted(allowed)}"


def test_no_own_import_hides_in_a_function():
    hidden = [str(i) for m in MODULES for i in imports(m) if i.in_function and own(i.target)]
    assert not hidden


def test_no_module_imports_itself_through_others():
    def file(target: str) -> str:
        return target if target in MODULES else f"{target}.__init__"

    graph = {
        m: sorted({file(i.target) for i in imports(m) if own(i.target) and not i.for_types} - {m}) for m in MODULES
    }
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for target in graph[module]:
                visit(target, [*way, module])
            done.add(module)

    for module in MODULES:
        visit(module, [])


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) == "ledger"])
def test_the_ledger_knows_no_framework(module: str):
    roots = {i.target.split(".")[0] for i in imports(module)}
    optional = {"matplotlib"}  # a picture is drawn where it is installed, and imported in the function that draws
    assert roots - optional <= {"verax", "numpy", *sys.stdlib_module_names}
    assert all(i.in_function or i.for_types for i in imports(module) if i.target.split(".")[0] in optional)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_small_enough_to_read(module: str):
    lines = len(MODULES[module].read_text().splitlines())
    assert lines <= LINES, f"{module} has {lines} lines: split it by what a reader looks for"


@pytest.mark.parametrize("module", [m for m in MODULES if m != "verax._version"])
def test_a_module_says_what_it_is(module: str):
    tree = ast.parse(MODULES[module].read_text())
    assert ast.get_docstring(tree)
    names = {t.id for n in tree.body if isinstance(n, (ast.Assign, ast.AnnAssign)) for t in _targets(n)}
    empty = len(tree.body) == 1  # a package that is only a room: its names are in its modules
    assert empty or "__all__" in names
    assert empty or any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.Name]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [t for t in targets if isinstance(t, ast.Name)]


def loaded_by(code: str) -> set[str]:
    """The top-level packages, standard library aside, that a fresh interpreter has loaded after ``code``.

    What site hooks of the environment load before ``code`` runs is not counted.
    """
    script = f"import json, sys\nbefore = set(sys.modules)\n{code}\nprint(json.dumps([*sys.modules.keys() - before]))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names = json.loads(ran.stdout.splitlines()[-1])
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


#: jax and numpy, and what they bring along.
JAX = {"jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy", "jax_plugins"}


def test_import_verax_loads_nothing_but_jax_and_numpy():
    assert loaded_by("import verax") - JAX <= {"verax"}


def test_opening_every_room_loads_no_optional_library():
    loaded = loaded_by("import verax\nfor name in verax.__all__: getattr(verax, name)")
    late = {
        "rich",
        "h5py",
        "safetensors",
        "pandas",
        "matplotlib",
        "keras",
        "sklearn",
        "IPython",
        "torch",
        "tensorflow",
        "orbax",
    }
    assert "verax" in loaded
    assert not loaded & late
