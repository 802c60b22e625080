"""LambdaCallback: a callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verax.callbacks.base import BATCH_HOOKS, HOOKS, Callback
from verax.errors import InputError, UnknownNameError

__all__ = ["LambdaCallback"]

_NAMES = (*HOOKS, *BATCH_HOOKS, "on_batch_begin", "on_batch_end", "on_chunk_end")


class LambdaCallback(Callback):
    """A callback whose hooks are the functions given.

    Args:
        replay: As in `Callback`: True says that batch functions only read their logs, and keeps ``fit`` fast.
        hooks: ``on_...=function``, for any hook of `Callback`. They are called as its methods are: ``f(logs)``,
            ``f(epoch, logs)``, ``f(batch, logs=logs)``.

    Raises:
        UnknownNameError: For a name that is no hook; InputError for what is no function.

    >>> noted = []
    >>> note = LambdaCallback(on_epoch_end=lambda epoch, logs: noted.append(logs["loss"]))
    >>> note.on_epoch_end(0, {"loss": 0.5})
    >>> noted
    [0.5]
    """

    def __init__(self, *, replay: bool = False, **hooks: Callable[..., Any] | None):
        self.replay = replay
        for name, function in hooks.items():
            if name not in _NAMES:
                raise UnknownNameError.among("hook", name, _NAMES)
            if function is None:
                continue
            if not callable(function):
                raise InputError(
                    f"LambdaCallback({name}=...) takes a function.", received=repr(function), do="Pass a callable."
                )
            setattr(self, name, function)
