"""Compiled programs on disk, so that the next process need not compile them again."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from verax.errors import InputError

__all__ = ["begin", "compilation_cache"]

_VARIABLE = "VERAX_COMPILATION_CACHE"


def compilation_cache(directory: str | os.PathLike[str] | None) -> Path | None:
    """Keep compiled programs in a directory, from the next compilation on; None to stop.

    The environment variable VERAX_COMPILATION_CACHE does the same without a change to the program. Programs lie in a
    folder of their own for each jaxlib and each kind of processor, because XLA compiles for the very instructions of
    the processor it runs on: a directory shared by several machines is safe. It is not safe where others may write
    into it, since what lies there is run as code; and a program that calls back to Python is never kept. The setting is
    jax's own, so it holds for every ``jax.jit`` of the process.

    Args:
        directory: Where; made if it is not there.

    Returns:
        The folder in use, or None.

    Raises:
        InputError: The directory cannot be made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = compilation_cache(place)
    ...     folder.is_dir(), compilation_cache(None)
    (True, None)
    """
    folder = None if directory is None else Path(directory).expanduser().absolute() / _machine()
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                "Compiled programs were to be kept in a directory.",
                received=str(directory),
                because=f"it cannot be made: {error.strerror}",
                do="Name one that you may write into, or None.",
            ) from error
        # By default jax keeps what took a second to compile; many small programs make a slow start, too.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_compilation_cache_dir", None if folder is None else str(folder))
    jax_cache.reset_cache()
    return folder


@functools.cache
def begin() -> None:
    """Before the first compilation: what the environment asks for."""
    asked = os.environ.get(_VARIABLE)
    if asked and jax.config.values.get("jax_compilation_cache_dir") is None:
        compilation_cache(asked)


@functools.cache
def _machine() -> str:
    """The kind of processor and the compiler, as the name of a folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        processor = platform.processor()
    mark = hashlib.sha256(processor.encode()).hexdigest()[:12]
    return f"{platform.machine()}-{mark}-jaxlib-{metadata.version('jaxlib')}"
