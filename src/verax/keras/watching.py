"""Every fit of a program, explained, without a change to the program."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any, cast

from verax.keras.callback import Explain
from verax.keras.frameworks import require_keras
from verax.ledger.chain import Gap

__all__ = ["Watching", "watching"]


class Watching:
    """What was seen of the fits.

    Attributes:
        fits: The callback of each, in order.
    """

    def __init__(self) -> None:
        self.fits: list[Explain] = []

    @property
    def gaps(self) -> list[Gap]:
        """The gap of each fit that was explained, in order."""
        return [fit.gap for fit in self.fits if fit.gaps]


@contextlib.contextmanager
def watching(**options: Any) -> Iterator[Watching]:
    """Inside, every ``keras.Model.fit`` carries an ``Explain`` callback; afterwards none does.

    A fit that has such a callback already is left alone.

    Args:
        **options: What ``Explain`` takes.

    Raises:
        MissingExtraError: Keras is not installed.

    >>> import keras
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((64, 3), "float32"), np.ones((64, 1), "float32")
    >>> with verax.keras.watching(verbose=0) as seen:
    ...     _ = model.fit(x, y, validation_data=(x, y), verbose=0)
    >>> [gap.links[0].cause.name for gap in seen.gaps]
    ['WEIGHTS_MOVED']
    """
    model = require_keras("verax.keras.watching explains the fits of Keras models.").Model
    fit, own = model.fit, vars(model).get("fit")
    signature = inspect.signature(fit)
    seen = Watching()

    @functools.wraps(fit)
    def watched(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        given = call.arguments.get("callbacks")
        container = cast("Any", given) if hasattr(given, "callbacks") else None
        listed = list(container.callbacks) if container else given if isinstance(given, list | tuple) else [given]
        if not any(isinstance(one, Explain) for one in listed):
            why = cast("Any", Explain(**options))
            seen.fits.append(why)
            if container:
                why.set_model(call.arguments["self"])
                container.append(why)
            else:
                call.arguments["callbacks"] = [*(one for one in listed if one is not None), why]
        return fit(*call.args, **call.kwargs)

    model.fit = watched
    try:
        yield seen
    finally:
        if own is None:
            del model.fit
        else:
            model.fit = own
