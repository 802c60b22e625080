"""Config: settings in one object, read by name or as attributes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, MutableMapping
from typing import Any

from verax.errors import FrozenError

__all__ = ["Config"]


class Config(MutableMapping[str, Any]):
    """A dict whose keys are attributes too, and which can be frozen.

    Args:
        kwargs: The settings.

    Raises:
        AttributeError: A setting that does not exist; the nearest names are given.
        FrozenError: A change while frozen.

    >>> config = Config(rate=0.1, units=32)
    >>> config.units = 64
    >>> config.freeze()
    >>> config["units"], config.to_json()
    (64, '{"rate": 0.1, "units": 64}')
    """

    _settings: dict[str, Any]
    _frozen: bool

    def __init__(self, **kwargs: Any):
        object.__setattr__(self, "_settings", dict(kwargs))
        object.__setattr__(self, "_frozen", False)

    @property
    def frozen(self) -> bool:
        """Whether changes are refused."""
        return self._frozen

    def freeze(self) -> None:
        """Refuse changes from now on."""
        object.__setattr__(self, "_frozen", True)

    def unfreeze(self) -> None:
        """Allow changes again."""
        object.__setattr__(self, "_frozen", False)

    def as_dict(self) -> dict[str, Any]:
        """The settings in a dict of their own."""
        return dict(self._settings)

    def to_json(self) -> str:
        """The settings as JSON."""
        return json.dumps(self._settings)

    def __getitem__(self, key: str) -> Any:
        return self._settings[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._check(key)
        self._settings[key] = value

    def __delitem__(self, key: str) -> None:
        self._check(key)
        del self._settings[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._settings:
            near = [] if name.startswith("_") else difflib.get_close_matches(name, self._settings)
            advice = f" Did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"This Config has no setting {name!r}.{advice}")
        return self._settings[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return f"<Config {self._settings}>"

    def _check(self, key: str) -> None:
        if self._frozen:
            raise FrozenError(
                f"The setting {key!r} was to be changed.", because="the Config is frozen", do="Call unfreeze() first."
            )
