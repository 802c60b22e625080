"""Train or infer, for the whole model, an effect, or a path: asked for, never assumed."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from verax.errors import InputError, UnknownNameError

__all__ = ["EFFECTS", "Mode", "ModeMap", "Observation"]

#: What a mode-dependent layer does differently in training; a layer of a person's own is ``custom:<path>``.
EFFECTS = ("dropout", "noise", "batch_statistics", "augmentation", "stochastic_depth")


class Mode(enum.Enum):
    """In which mode layers run: there is no default, a measurement names its mode.

    >>> Mode.of("train"), Mode.of(False)
    (Mode.TRAIN, Mode.INFER)
    """

    TRAIN = "train"
    INFER = "infer"

    def __repr__(self) -> str:
        return f"Mode.{self.name}"

    @classmethod
    def of(cls, value: Mode | str | bool) -> Mode:
        """The mode that a name, a truth value ("training") or a Mode stands for."""
        if isinstance(value, Mode):
            return value
        if isinstance(value, bool):
            return cls.TRAIN if value else cls.INFER
        try:
            return cls(value)
        except ValueError:
            raise UnknownNameError.among("mode", value, [m.value for m in cls]) from None


@dataclass(frozen=True)
class ModeMap:
    """A mode for every layer: a default, and others by path or by effect.

    The longest path that contains the layer speaks first, then the layer's effect, then the default. A value may be a
    traced boolean (True for TRAIN): one compiled program then serves every combination.

    Attributes:
        default: What the pass is: TRAIN for a pass that updates parameters, INFER for one that measures.
        effects: effect -> mode.
        paths: layer path -> mode, for the layer and all below it; ``""`` is every layer.

    >>> modes = ModeMap.of({"dropout": "infer", "head": "infer"}, default=Mode.TRAIN)
    >>> modes.at("body/drop", "dropout"), modes.at("head/bn", "batch_statistics")
    (Mode.INFER, Mode.INFER)
    >>> modes.at("body/bn", "batch_statistics")
    Mode.TRAIN
    """

    default: Mode
    effects: Mapping[str, Mode | jax.Array] = field(default_factory=dict)
    paths: Mapping[str, Mode | jax.Array] = field(default_factory=dict)

    @classmethod
    def of(cls, value: ModeMap | Mode | str | bool | Mapping[str, Any], *, default: Mode | None = None) -> ModeMap:
        """The map that ``value`` stands for; a dict names effects or paths, and needs a default."""
        if isinstance(value, ModeMap):
            return value
        if not isinstance(value, Mapping):
            mode = Mode.of(value)
            if default is None or mode is default:
                return cls(mode)
            return cls(default, paths={"": mode})
        if default is None:
            raise InputError(
                "A mode was given as a dict of effects and paths.",
                received=repr(dict(value)),
                because="the mode of every other layer is not said",
                do="Use ModeMap(Mode.TRAIN, effects=..., paths=...).",
            )
        effects: dict[str, Mode | jax.Array] = {}
        paths: dict[str, Mode | jax.Array] = {}
        for key, mode in value.items():
            into = effects if key in EFFECTS or key.startswith("custom:") else paths
            into[key.rstrip("/")] = mode if isinstance(mode, jax.Array) else Mode.of(mode)
        return cls(default, effects, paths)

    def at(self, path: str, effect: str) -> Mode | jax.Array:
        """The mode of the layer at ``path`` whose mode-dependence is ``effect``."""
        best: tuple[int, Mode | jax.Array] | None = None
        for prefix, mode in self.paths.items():
            if (prefix == "" or path == prefix or path.startswith(prefix + "/")) and (
                best is None or len(prefix) > best[0]
            ):
                best = (len(prefix), mode)
        if best is not None:
            return best[1]
        return self.effects.get(effect, self.default)

    def check_paths(self, known: Iterable[str]) -> None:
        """Refuse a path that no layer has: a misspelt one would silently change nothing."""
        known = set(known)
        for path in self.paths:
            if path and path not in known:
                raise UnknownNameError.among("layer path or effect", path, known | set(EFFECTS))

    def key(self) -> tuple[Any, ...]:
        """A hashable form, to key compiled programs with (traced flags count by their presence, not their value)."""

        def plain(table: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
            return tuple(sorted((k, v.value if isinstance(v, Mode) else "flag") for k, v in table.items()))

        return (self.default.value, plain(self.effects), plain(self.paths))


@dataclass(frozen=True)
class Observation:
    """What a layer did about the mode in one pass: recorded while it ran, not assumed.

    Attributes:
        effect: What depends on the mode.
        mode: The mode the layer ran in; None where a traced flag decided.
        why: ``"asked"`` (the pass), ``"forced"`` (a call said ``training=``) or ``"frozen"`` (``trainable=False``).
    """

    effect: str
    mode: Mode | None
    why: str = "asked"
