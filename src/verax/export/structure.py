"""What goes in and comes out, as plain data: nested lists, tuples and dicts of tensors, in JSON and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from verax.errors import DataError, InputError, ShapeError

__all__ = ["described", "filled", "flat", "leaves_of", "matched", "shown"]

#: A structure in JSON: {"kind": "tensor", ...}, {"kind": "list" | "tuple", "items": [...]}, {"kind": "dict", "items":
#: {...}}, {"kind": "none"}.
Description = dict[str, Any]


def described(value: Any, leaf: Callable[[Any, str], Description | None], path: str = "") -> Description:
    """A structure as a description.

    Args:
        value: Nested lists, tuples and dicts (whose keys are strings).
        leaf: (value, path) -> what describes it, or None where it is no tensor.
        path: Where ``value`` stands, such as ``"heads/0"``.

    >>> number = lambda value, path: {"name": path} if isinstance(value, int) else None
    >>> described({"b": 1, "a": [2, None]}, number)["items"]["a"]
    {'kind': 'list', 'items': [{'kind': 'tensor', 'name': 'a/0'}, {'kind': 'none'}]}
    """
    tensor = leaf(value, path)
    if tensor is not None:
        return {"kind": "tensor", **tensor}
    if value is None:
        return {"kind": "none"}
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        if all(isinstance(key, str) for key in items):
            return {"kind": "dict", "items": {k: described(items[k], leaf, _below(path, k)) for k in sorted(items)}}
    if isinstance(value, (list, tuple)):
        found = [described(v, leaf, _below(path, str(i))) for i, v in enumerate(cast("Sequence[Any]", value))]
        return {"kind": "list" if isinstance(value, list) else "tuple", "items": found}
    raise InputError(
        "A model was to be exported.",
        received=f"{type(value).__name__} at {path or 'the top'} of its inputs or outputs",
        because="what goes in and comes out of an exported model are arrays, in lists, tuples and dicts by name",
        do="Return those.",
    )


def leaves_of(description: Description) -> list[Description]:
    """The tensors of a description, in order; dicts by their sorted keys, as jax has it."""
    kind = description["kind"]
    if kind == "tensor":
        return [description]
    return [leaf for item in _items(description) for leaf in leaves_of(item)]


def filled(description: Description, leaves: Iterator[Any]) -> Any:
    """The structure, with the next leaves in the places of its tensors."""
    kind = description["kind"]
    if kind == "tensor":
        return next(leaves)
    if kind == "dict":
        return {key: filled(description["items"][key], leaves) for key in sorted(description["items"])}
    if kind == "none":
        return None
    made = [filled(item, leaves) for item in description["items"]]
    return made if kind == "list" else tuple(made)


def flat(description: Description, value: Any) -> list[Any]:
    """The leaves of a value that has the structure."""
    kind = description["kind"]
    if kind == "tensor":
        return [value]
    if kind == "dict":
        return [v for key in sorted(description["items"]) for v in flat(description["items"][key], value[key])]
    if kind == "none":
        return []
    return [v for item, part in zip(description["items"], value, strict=True) for v in flat(item, part)]


def matched(description: Description, value: Any, asked: str) -> list[Any]:
    """The leaves of what a person passes: the structure itself, or a dict by the names of a list's tensors.

    Raises:
        ShapeError: Another number of inputs.
        DataError: A name is missing.
    """
    kind = description["kind"]
    if kind == "tensor":
        return [value]
    if kind == "none":
        return []
    items = description["items"]
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        by_name = dict(items) if kind == "dict" else {str(item.get("name", i)): item for i, item in enumerate(items)}
        missing = [name for name in by_name if name not in given]
        if missing:
            raise DataError(
                asked,
                received=f"the keys {sorted(map(str, given))}",
                because=f"its inputs are named {list(by_name)}",
                do=f"Add {missing[0]!r}.",
            )
        order = sorted(by_name) if kind == "dict" else list(by_name)
        return [leaf for name in order for leaf in matched(by_name[name], given[name], asked)]
    parts = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else [value]
    if kind == "dict" or len(parts) != len(items):
        form = f"a dict with the keys {sorted(items)}" if kind == "dict" else f"a list of {len(items)} arrays"
        received = f"{len(parts)} of them" if isinstance(value, (list, tuple)) else f"one {type(value).__name__}"
        raise ShapeError(asked, received=received, because=f"its input is {form}", do="Pass that.")
    return [leaf for item, part in zip(items, parts, strict=True) for leaf in matched(item, part, asked)]


def shown(description: Description) -> str:
    """A structure in words.

    >>> shown({"kind": "list", "items": [{"kind": "tensor", "name": "x", "shape": [None, 3], "dtype": "float32"}]})
    '[x (None, 3) float32]'
    """
    kind = description["kind"]
    if kind == "tensor":
        open_ = description.get("open", {})
        sizes = ", ".join(_size(n, open_.get(str(axis), {})) for axis, n in enumerate(description["shape"]))
        sizes += "," if len(description["shape"]) == 1 else ""
        name = description.get("name")
        return f"{name} ({sizes}) {description['dtype']}" if name else f"({sizes}) {description['dtype']}"
    if kind == "none":
        return "None"
    if kind == "dict":
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in description["items"].items()) + "}"
    inner = ", ".join(map(shown, description["items"]))
    return f"[{inner}]" if kind == "list" else f"({inner})"


def _items(description: Description) -> list[Description]:
    items = description.get("items", [])
    return [items[key] for key in sorted(items)] if isinstance(items, dict) else list(items)


def _size(n: int | None, bounds: Mapping[str, Any]) -> str:
    """A size in words: ``None`` is any, ``>=8`` at least eight, ``8k`` a multiple of eight."""
    if n is not None:
        return str(n)
    if bounds.get("multiple", 1) > 1:
        return f"{bounds['multiple']}k"
    return f">={bounds['least']}" if bounds.get("least", 1) > 1 else "None"


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
