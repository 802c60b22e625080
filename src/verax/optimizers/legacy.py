"""The names of Keras 2's optimizers, which Keras 3 and Verax do not have: each says what to use."""

from __future__ import annotations

from typing import Any, NoReturn

from verax.errors import InputError

__all__ = ["SGD", "Adagrad", "Adam", "Ftrl", "Optimizer", "RMSprop"]


class _Legacy:
    def __init__(self, *args: Any, **arguments: Any) -> NoReturn:
        name = type(self).__name__
        raise InputError(
            f"verax.optimizers.legacy.{name} was to be made.",
            because="the optimizers of Keras 2 ended with it; in Keras 3 these names raise as well",
            do=f"Use verax.optimizers.{name}. In the place of decay=d pass a schedule as learning_rate: "
            "schedules.InverseTimeDecay(rate, 1, d).",
        )


class Adagrad(_Legacy):
    """Raises :class:`InputError`: use :class:`verax.optimizers.Adagrad`."""


class Adam(_Legacy):
    """Raises :class:`InputError`: use :class:`verax.optimizers.Adam`."""


class Ftrl(_Legacy):
    """Raises :class:`InputError`: use :class:`verax.optimizers.Ftrl`."""


class Optimizer(_Legacy):
    """Raises :class:`InputError`: use :class:`verax.optimizers.Optimizer`."""


class RMSprop(_Legacy):
    """Raises :class:`InputError`: use :class:`verax.optimizers.RMSprop`."""


class SGD(_Legacy):
    """Raises :class:`InputError`: use :class:`verax.optimizers.SGD`."""
