"""The one switch of the fast kernels: forms of an operation that XLA runs faster on a CPU than its plain form."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

import jax

__all__ = ["fast_kernels", "runs_here", "traced_for", "use_fast_kernels"]

_settings: dict[str, Any] = {"on": os.environ.get("VERAX_FAST_KERNELS", "1") != "0"}
#: The platform that programs are traced for, where it is not the one they will run on here.
_platform: ContextVar[str | None] = ContextVar("platform", default=None)


def fast_kernels() -> bool:
    """Whether operations take their fast forms: switched on, and jax runs on a CPU (elsewhere the plain ones are best).

    Read while a program is traced: what was compiled before keeps its form.

    >>> use_fast_kernels(True)
    >>> fast_kernels() == (jax.default_backend() == "cpu")
    True
    """
    return _settings["on"] and (_platform.get() or jax.default_backend()) == "cpu"


def runs_here() -> bool:
    """Whether a program that is traced now is to run in this process alone: it is not written to a file.

    jax writes compiled programs to its compilation cache, where one is set.

    >>> with traced_for("cpu"):
    ...     runs_here()
    False
    """
    return _platform.get() is None and jax.config.jax_compilation_cache_dir is None  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def traced_for(platform: str) -> Generator[None]:
    """Trace for a platform, such as "cpu" or "tpu", whatever this process runs on.

    >>> with traced_for("tpu"):
    ...     fast_kernels()
    False
    """
    token = _platform.set(platform)
    try:
        yield
    finally:
        _platform.reset(token)


def use_fast_kernels(on: bool) -> None:
    """Switch the fast kernels on or off for programs traced from now on.

    They are on; the environment's ``VERAX_FAST_KERNELS=0`` begins with them off. Every fast kernel stands beside the
    plain form it is tested against, so a result that changes with the switch by more than rounding is a mistake.
    """
    _settings["on"] = bool(on)
