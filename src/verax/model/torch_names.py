"""Which tensor of a PyTorch file is which weight of a model: by names given, or by the order of layers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from verax.errors import DataError, InputError
from verax.model.torch_layouts import Unit

__all__ = ["Names", "targets_of"]

#: module -> layer, a function of a module's name, modules in the order of the model's layers, "order", or None: alike.
Names = Mapping[str, str | None] | Callable[[str], str | None] | Sequence[str] | None

_RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh)_l(\d+)(_reverse)?")
_COUNTERS = ("num_batches_tracked", "position_ids")


def targets_of(shapes: Mapping[str, tuple[int, ...]], names: Names, units: Sequence[Unit]) -> dict[str, str]:
    """name in the file -> name as ``Unit.sources`` has it, without the tensors that are left out.

    Args:
        shapes: name -> shape of the file's tensors.
        names: How modules are called in the model.
        units: The model's layers.
    """
    apart = _modules([name for name in shapes if name.rpartition(".")[2] not in _COUNTERS])
    exact: Mapping[str, str | None] = {}
    if isinstance(names, str) and names == "order":
        rename = _by_path(_by_kind(apart, shapes, units))
    elif isinstance(names, str):
        raise InputError(
            "names says which module is which layer.",
            received=repr(names),
            do="Use 'order', a dict {module: layer}, a function, or a list of modules in the order of the layers.",
        )
    elif names is None or isinstance(names, Mapping):
        exact = names or {}
        rename = _by_path(exact)
    elif callable(names):
        rename = names
    else:
        rename = _by_path(_in_sequence(list(names), apart, units))
    known = _Known(units)
    found: dict[str, str] = {}
    for name, (module, leaf) in apart.items():
        if name in exact:
            path = exact[name]
            target = None if path is None else known.weight(path.replace(".", "/"))
        else:
            path = rename(module)
            target = None if path is None else known.tensor(path.replace(".", "/").strip("/"), leaf)
        if target is not None:
            found[name] = target
    return found


class _Known:
    """The names under which tensors are looked for."""

    def __init__(self, units: Sequence[Unit]):
        self.units = [*units, *(part for unit in units for part in unit.parts)]
        self.sources = {name for unit in self.units for name in unit.sources}
        self.single = {
            entry.path: next(iter(entry.sources))
            for unit in reversed(self.units)
            for entry in unit.entries
            if len(entry.sources) == 1
        }

    def weight(self, path: str) -> str:
        """A tensor's own name for a weight, where a person gave the weight's path."""
        return path if path in self.sources else self.single.get(path, path)

    def tensor(self, path: str, leaf: str) -> str:
        """The name of a module's tensor; of the one layer inside where ``path`` is that of a layer around it."""
        name = f"{path}/{leaf}".removeprefix("/")
        if name in self.sources:
            return name
        below = [
            unit for unit in self.units if unit.path.startswith(f"{path}/") and f"{unit.path}/{leaf}" in self.sources
        ]
        return f"{below[0].path}/{leaf}" if len(below) == 1 else name


def _modules(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """name -> (module, its name for the tensor); layers of one recurrent module are modules ``rnn.l0``, ``rnn.l1``."""
    several = {
        name.rpartition(".")[0]
        for name in names
        if (match := _RECURRENT.fullmatch(name.rpartition(".")[2])) and match[2] != "0"
    }
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        module, _, leaf = name.rpartition(".")
        match = _RECURRENT.fullmatch(leaf)
        if match is not None:
            leaf = match[1] + (match[3] or "")
            module = f"{module}.l{match[2]}".removeprefix(".") if module in several else module
        found[name] = (module, leaf)
    return found


def _by_path(table: Mapping[str, str | None]) -> Callable[[str], str | None]:
    """A module's name with the longest beginning that ``table`` has replaced."""

    def rename(module: str) -> str | None:
        words = module.split(".")
        for n in range(len(words), -1, -1):
            beginning = ".".join(words[:n])
            if beginning in table:
                path = table[beginning]
                return None if path is None else "/".join([path, *words[n:]])
        return module

    return rename


def _in_sequence(
    modules: list[str], apart: Mapping[str, tuple[str, str]], units: Sequence[Unit]
) -> dict[str, str | None]:
    """Modules in the order of the layers; those that have no tensors, and those inside others, are passed over."""
    present = {module for module, _ in apart.values()}
    wanted = [m for m in modules if m in present and not any(m.startswith(f"{n}.") for n in modules if n in present)]
    if len(wanted) != len(units):
        n = min(len(wanted), len(units))
        raise DataError(
            "names lists modules in the order of the model's layers.",
            received=f"{len(wanted)} modules that have tensors"
            + (f", {wanted[n]!r} the first too many" if len(wanted) > n else ""),
            because=f"the model has {len(units)} layers with weights"
            + (f", {units[n].path!r} the first without a module" if len(units) > n else ""),
            do="List one module for each, as [name for name, _ in net.named_modules()] does.",
        )
    return {module: unit.path for module, unit in zip(wanted, units, strict=True)}


def _by_kind(
    apart: Mapping[str, tuple[str, str]], shapes: Mapping[str, tuple[int, ...]], units: Sequence[Unit]
) -> dict[str, str | None]:
    """Modules and layers with the same tensors, in their order: by the numbers in the modules' names.

    A file keeps its tensors sorted, so the order of modules whose names differ in more than numbers is not known.
    """
    have: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for name, (module, leaf) in apart.items():
        have[module][leaf] = shapes[name]
    for module in sorted(have, key=len):  # what stands inside of a module with tensors belongs to it
        outer = next((m for m in have if m != module and module.startswith(f"{m}.") and m), None)
        if outer is not None:
            have[outer].update({f"{module[len(outer) + 1 :]}/{leaf}": s for leaf, s in have.pop(module).items()})
    modules: dict[Any, list[str]] = defaultdict(list)
    wanted: dict[Any, list[Unit]] = defaultdict(list)
    for module, tensors in have.items():
        modules[frozenset(tensors.items())].append(module)
    for unit in units:
        inside = {name.removeprefix(f"{unit.path}/"): shape for name, shape in unit.sources.items()}
        wanted[frozenset(inside.items())].append(unit)
    table: dict[str, str | None] = {}
    for kind in [*wanted, *(kind for kind in modules if kind not in wanted)]:
        theirs, ours = sorted(modules[kind], key=_natural), wanted[kind]
        numbered = len({re.sub(r"\d+", "#", module) for module in theirs}) <= 1
        if len(theirs) != len(ours) or not numbered:
            raise _no_order(kind, theirs, [unit.path for unit in ours])
        table.update({module: unit.path for module, unit in zip(theirs, ours, strict=True)})
    return table


def _no_order(kind: Any, theirs: list[str], ours: list[str]) -> DataError:
    shown = ", ".join(f"{leaf} {shape}" for leaf, shape in sorted(cast("Iterable[tuple[str, Any]]", kind)))
    return DataError(
        "names='order' was asked for.",
        received=f"{len(theirs)} modules of {shown}: {', '.join(map(repr, theirs[:4]))}",
        because=f"the model has {len(ours)} such layers: {', '.join(map(repr, ours[:4]))}"
        if len(theirs) != len(ours)
        else "a file keeps its tensors sorted by name, and these names differ in more than numbers",
        do="Give names={module: layer}, or the list of modules in the order of the layers.",
    )


def _natural(name: str) -> list[tuple[int, Any]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]
