"""What of Keras' public names Verax has, read from the tests that compare the two; it writes docs/coverage.md.

    python -m tests.coverage

A name counts as compared where a test calls Keras by it as its oracle: written out (``keras.utils.pad_sequences``, or
``k.callbacks.CSVLogger`` in what makes the same thing with Keras and with Verax), as a string in a table whose names go
through ``getattr(keras.losses, name)``, or as a row of a table of layers, operations, losses or metrics.
"""

from __future__ import annotations

import ast
import types
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verax
from tests import test_activations
from tests.layers.cases import CASES
from tests.losses import test_oracle as test_losses
from tests.metrics import test_oracle as test_metrics
from tests.ops.rows import ROWS
from tests.ops.test_names import FUNCTIONS
from tests.oracle import oracle

__all__ = ["DIFFERS", "NOT_YET", "PAGE", "compared", "exists", "page", "public"]

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "coverage.md"

#: name, or the beginning of names that ends with a point -> why it is left out, or is another thing than in Keras.
DIFFERS: dict[str, str] = {
    "quantizers.": "quantization is not what Verax exists for",
    "dtype_policies.AWQDTypePolicy": "quantization",
    "dtype_policies.GPTQDTypePolicy": "quantization",
    "dtype_policies.Int4DTypePolicy": "quantization",
    "dtype_policies.QuantizedDTypePolicy": "quantization",
    "dtype_policies.QuantizedFloat8DTypePolicy": "quantization",
    "Quantizer": "quantization",
    "FloatDTypePolicy": "`DTypePolicy` is the only kind",
    "Function": "a functional `Model` is the graph",
    "Operation": "a graph runs layers and plain functions",
    "SymbolicScope": "shapes come from tracing",
    "layers.TFSMLayer": "runs TensorFlow",
    "layers.TorchModuleWrapper": "runs PyTorch inside a model; Verax explains PyTorch models where they are",
    "optimizers.legacy.": "as in Keras, an error that says what to use",
    "legacy.": "as in Keras 3, for files of Keras 2 alone",
    "utils.legacy.": "as in Keras 3, for files of Keras 2 alone",
    "callbacks.OrbaxCheckpoint": "`BackupAndRestore` resumes exactly",
    "layers.MaxNumBoundingBoxes": "bounding boxes",
    "utils.bounding_boxes.": "bounding boxes",
    "visualization.": "pictures of detections",
    "utils.audio_dataset_from_directory": "reads sound files with TensorFlow",
}

#: name, or the beginning of names that ends with a point -> what will bring it.
NOT_YET: dict[str, str] = {
    "applications.": "pretrained networks",
    "models.load_model": "files",
    "models.save_model": "files",
    "saving.load_weights": "files",
    "saving.save_weights": "files",
    "saving.KerasFileEditor": "files",
    "config.enable_unsafe_deserialization": "files",
    "distillation.": "a model that learns from another",
    "dtype_policies.DTypePolicyMap": "a policy for each layer by its path; a layer's own `dtype` does that now",
    "utils.FeatureSpace": "a table of features; its layers are there",
}

#: name, or the beginning of names that ends with a point -> what tests it where Keras is no oracle.
OTHERWISE: dict[str, str] = {
    "Regularizer": "base class: one's own, test_regularizers.py",
    "constraints.Constraint": "base class: one's own, test_constraints.py",
    "optimizers.schedules.LearningRateSchedule": "base class: one's own, test_parts_of_your_own.py",
    "callbacks.ProgbarLogger": "what it prints, callbacks/test_progress.py",
    "dtype_policies.": "by name and by configuration, model/test_mixed_precision.py",
    "StatelessScope": "where variables keep their values, test_config.py",
    "export.ExportArchive": "against the models in it, export/test_archive.py",
    "device": "where arrays are put, test_config.py",
    "version": "the package's own",
    "utils.split_dataset": "Keras' needs TensorFlow: utils/test_datasets.py",
    "layers.serialize": "configurations go both ways, model/test_configuration.py",
    "datasets.": "downloads: tested on files of the same form, datasets/test_fetched.py",
    "distribution.": "two devices against one, test_distribution.py",
    "wrappers.": "against scikit-learn's rules, test_wrappers.py",
    "config.": "a setting: what obeys it, test_config.py",
    "backend.": "a setting: what obeys it, test_config.py",
    "preprocessing.": "against a table computed by TensorFlow, utils/test_datasets.py",
    "remat": "the same bits with less memory, frame/test_remat.py",
    "RematScope": "the same bits with less memory, frame/test_remat.py",
    "layers.HashedCrossing": "against a table computed by TensorFlow, layers/text",
    "layers.FlaxLayer": "against the module itself, layers/test_jax_bridge.py",
    "utils.get_file": "against a server, utils/test_files.py",
    "utils.plot_model": "against the graph, utils/test_plotting.py",
    "utils.model_to_dot": "against the graph, utils/test_plotting.py",
    "ops.image.elastic_transform": "draws: against its closed form, ops/test_image.py",
}


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
        for name in (*(row.name for row in ROWS), *FUNCTIONS):
            found.setdefault(f"ops.{name}", "ops/test_names.py")
        for name, *_ in test_activations.CASES:
            found.setdefault(f"activations.{name}", "test_activations.py")
        for room, table in (("losses", test_losses.CASES), ("metrics", test_metrics.CASES)):
            for name, *_ in table:  # a class and the function it is made of
                function = getattr(getattr(getattr(verax, room), name), "function", None)
                for named in (name, getattr(function, "__name__", name)):
                    found.setdefault(f"{room}.{named}", f"{room}/test_oracle.py")
        for file in sorted(TESTS.rglob("test_*.py")):
            for path in _called(ast.parse(file.read_text()), keras):
                found.setdefault(path, file.relative_to(TESTS).as_posix())
    return found


#: What a function is called with that makes the same thing with Keras and with Verax.
EITHER = {"k", "lib", "library", "which", "m"}


def _called(tree: ast.Module, keras: types.ModuleType) -> Iterator[str]:
    rooms: set[str] = set()  # modules of Keras that are handed to a function as they are
    strings: set[str] = set()
    attributes: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, path = _path(node).partition(".")
            found = _resolve(keras, path) if first in {"keras", *EITHER} else None
            if isinstance(found, types.ModuleType):
                rooms.add(path)
            elif found is not None:
                yield path
            attributes.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.update(node.value.replace(",", " ").split())
    for room in rooms:
        names = {name for name in strings | attributes if name.isidentifier()}
        yield from (f"{room}.{name}" for name in names if _resolve(keras, f"{room}.{name}") is not None)


def _resolve(keras: types.ModuleType, path: str) -> Any:
    found: Any = keras
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


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
            found[name] = ("equal", where, paths) if where else ("here", said(OTHERWISE, paths), paths)
    return found


WORDS = {
    "equal": "equal",
    "differs": "differs on purpose",
    "here": "here; Keras is no oracle for it",
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
