"""Functions as serialized StableHLO: traced with sizes left open, for several platforms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from verax.errors import InputError, MissingExtraError, StateError, UnknownNameError
from verax.frame.speed import fast_kernels, traced_for

__all__ = ["PLATFORMS", "Program", "check_platforms", "check_serializer", "programs_of", "refused", "schemes"]

#: What a file is made for unless told otherwise.
PLATFORMS = ("cpu", "cuda", "tpu")
_KNOWN = (*PLATFORMS, "rocm")


@dataclass(frozen=True)
class Program:
    """One compiled form of an endpoint.

    Attributes:
        platforms: What it runs on.
        kernels: "fast", the forms that are fastest on a CPU, or "plain".
        data: What ``jax.export`` serialized.
        outputs: (shape, dtype) of each output; sizes that are left open are None.
        rows: For each output, whether its first axis is the inputs' batch axis.
        open_sizes: For each input axis -> {"symbol", "least", "multiple"}.
    """

    platforms: tuple[str, ...]
    kernels: str
    data: bytes
    outputs: list[tuple[list[int | None], str]]
    rows: list[bool]
    open_sizes: list[dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class _Scheme:
    """How sizes that are left open are named and bounded.

    Attributes:
        shared: Whether an axis has the same size in every input.
        least: The least size.
        multiple: Sizes are multiples of it.
    """

    shared: bool = False
    least: int = 1
    multiple: int = 1

    def symbol(self, leaf: int, axis: int) -> str:
        """The name of an open size; the batch has one name everywhere."""
        return "batch" if axis == 0 else f"d{axis}" if self.shared else f"d{leaf}_{axis}"

    def specs(self, leaves: Sequence[Any]) -> tuple[list[Any], list[dict[int, dict[str, Any]]]]:
        """Abstract arrays of the leaves, and what is open in each."""
        shapes: list[str] = []
        found: list[dict[int, dict[str, Any]]] = []
        bounds: set[str] = set()
        for i, leaf in enumerate(leaves):
            sizes: list[str] = []
            open_: dict[int, dict[str, Any]] = {}
            for axis, n in enumerate(leaf.shape):
                if n is not None:
                    sizes.append(str(n))
                    continue
                name = self.symbol(i, axis)
                least, multiple = (1, 1) if axis == 0 else (self.least, self.multiple)
                open_[axis] = {"symbol": name, "least": max(least, multiple), "multiple": multiple}
                sizes.append(f"{multiple}*{name}" if multiple > 1 else name)
                if least > 1:
                    bounds.add(f"{name} >= {least}")
            shapes.append(", ".join(sizes))
            found.append(open_)
        scope = export.SymbolicScope(sorted(bounds))
        specs = [
            jax.ShapeDtypeStruct(export.symbolic_shape(shape, scope=scope) if shape else (), jnp.dtype(leaf.dtype))
            for shape, leaf in zip(shapes, leaves, strict=True)
        ]
        return specs, found


def schemes(leaves: Sequence[Any]) -> Iterator[_Scheme]:
    """From the most general one on: as few demands on sizes as the function can be traced with."""
    yield _Scheme()
    inner = [(i, axis) for i, leaf in enumerate(leaves) for axis, n in enumerate(leaf.shape) if n is None and axis > 0]
    if not inner:
        return
    sharing = [False, True] if len({i for i, _ in inner}) > 1 else [False]
    if len(sharing) > 1:
        yield _Scheme(shared=True)
    for least in (8, 32, 128):
        yield from (_Scheme(shared, least) for shared in sharing)
    for multiple in (2, 8, 32):
        yield from (_Scheme(shared, multiple=multiple) for shared in sharing)


def check_serializer(asked: str) -> None:
    """Refuse where the library is missing that ``jax.export`` writes and reads with."""
    if find_spec("flatbuffers") is None:
        raise MissingExtraError.of("flatbuffers", extra="export", asked=asked)


def check_platforms(platforms: Any) -> tuple[str, ...]:
    """The platforms, checked."""
    if isinstance(platforms, str):
        platforms = (platforms,)
    for name in platforms:
        if name not in _KNOWN:
            raise UnknownNameError.among("platform", name, _KNOWN)
    if not platforms:
        raise InputError("A model was to be exported.", received="platforms=()", do=f"Name some of {list(_KNOWN)}.")
    return tuple(dict.fromkeys(platforms))


def programs_of(
    function: Callable[[list[Any], list[Any], Any], Any],
    weights: Sequence[Any],
    leaves: Sequence[Any],
    platforms: tuple[str, ...],
    asked: str,
) -> list[Program]:
    """The programs of a function: a plain one for all platforms, and one in the fast forms for CPUs.

    Args:
        function: (weights, inputs, seed) -> a list of arrays.
        weights: Arrays, or their shapes and dtypes.
        leaves: The inputs: ``.shape``, None for sizes that are left open, and ``.dtype``.
        platforms: What to make them for.
        asked: What messages begin with.
    """
    kept = [jax.ShapeDtypeStruct(w.shape, w.dtype) for w in weights]
    first: Exception | None = None
    for scheme in schemes(leaves):
        specs, open_ = scheme.specs(leaves)

        def make(platforms: tuple[str, ...], kernels: str, specs: Any = specs, open_: Any = open_) -> Program:
            # Another function each time, so that no trace of the other forms is found again.
            jitted = jax.jit(lambda weights, inputs, seed: function(weights, inputs, seed))
            with traced_for("cpu" if kernels == "fast" else "any"), _without_places():
                made = export.export(jitted, platforms=platforms)(kept, specs, jax.ShapeDtypeStruct((), jnp.uint32))
                data = bytes(made.serialize())
            return Program(platforms, kernels, data, *_outputs(made, leaves), open_)

        try:
            plain = make(platforms, "plain")
        except StateError:  # no matter of sizes
            raise
        except Exception as error:
            first = first or error
            continue
        with traced_for("cpu"):
            wanted = "cpu" in platforms and fast_kernels()
        try:
            fast = [make(("cpu",), "fast")] if wanted else []
        except Exception:  # a fast form that needs to know a size that is left open
            fast = []
        return [*fast, *([plain] if len(platforms) > 1 or not fast else [])]
    assert first is not None
    raise refused(asked, leaves, first) from first


@contextlib.contextmanager
def _without_places() -> Generator[None]:
    """Programs that do not say in which lines of which files of this machine they were written."""
    name = "jax_traceback_in_locations_limit"
    kept = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, kept)


def _outputs(made: Any, leaves: Sequence[Any]) -> tuple[list[tuple[list[int | None], str]], list[bool]]:
    shapes = [aval.shape for aval in made.out_avals]
    outputs: list[tuple[list[int | None], str]] = [
        ([n if isinstance(n, int) else None for n in shape], aval.dtype.name)
        for shape, aval in zip(shapes, made.out_avals, strict=True)
    ]
    batch = {leaf.shape[0] for leaf in leaves if leaf.shape}
    rows = {"batch" if n is None else str(n) for n in batch} if len(batch) == 1 else {"batch"}
    return outputs, [bool(shape) and str(shape[0]) in rows for shape in shapes]


def refused(asked: str, leaves: Sequence[Any], error: Exception) -> InputError:
    """What to say where no scheme would do; ``error`` is the most general one's."""
    text = " ".join(str(error).split("\n\n")[0].split())[:400]
    if "custom calls" in text or "callback" in text:
        because = "it calls back to Python, or uses a kernel without a stable form: a file cannot hold either"
        return InputError(asked, received=text, because=because, do="Leave that out of the exported function.")
    notes = " ".join(getattr(error, "__notes__", []))
    shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves)
    return InputError(
        asked,
        received=f"inputs of shape {shapes}",
        because=f"it cannot be traced with these sizes left open: {text} {notes}".strip(),
        do="Say the sizes in input_signature, such as verax.InputSpec('float32', (None, 224, 224, 3)).",
    )
