"""The one switch of the fast kernels: forms of an operation that XLA runs faster on a CPU than its plain form."""

from __future__ import annotations

import os
from typing import Any

import jax

__all__ = ["fast_kernels", "use_fast_kernels"]

_settings: dict[str, Any] = {"on": os.environ.get("VERAX_FAST_KERNELS", "1") != "0"}


def fast_kernels() -> bool:
    """Whether operations take their fast forms: switched on, and jax runs on a CPU (elsewhere the plain ones are best).

    Read while a program is traced: what was compiled before keeps its form.

    >>> fast_kernels() == (jax.default_backend() == "cpu")
    True
    """
    return _settings["on"] and jax.default_backend() == "cpu"


def use_fast_kernels(on: bool) -> None:
    """Switch the fast kernels on or off for programs traced from now on.

    They are on; the environment's ``VERAX_FAST_KERNELS=0`` begins with them off. Every fast kernel stands beside the
    plain form it is tested against, so a result that changes with the switch by more than rounding is a mistake.
    """
    _settings["on"] = bool(on)
