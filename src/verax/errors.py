"""The errors Verax raises, and the shape every message has.

::

    VeraxError
     ├─ InputError (ValueError)            something a person passed cannot be used
     │   ├─ ShapeError                     a rank, a feature count or a shape does not fit
     │   ├─ DtypeError (TypeError)         a dtype does not fit
     │   ├─ DataError                      rows: empty, of unequal number, NaN, a label out of range; a damaged file
     │   │   └─ MissingFileError (FileNotFoundError)
     │   ├─ UnknownNameError (LookupError) a string that names nothing; the nearest names are given
     │   └─ GraphError                     symbolic tensors that do not form one graph
     ├─ StateError (RuntimeError)          the right call at the wrong time
     │   ├─ NotBuiltError                  weights do not exist yet
     │   ├─ NotCalledError (AttributeError) a layer stands in no graph
     │   ├─ NotCompiledError               ``compile`` was not called
     │   ├─ FrozenError (AttributeError)   the configuration of a built layer was to be changed
     │   └─ FrameError                     a layer was used where its frame cannot follow
     ├─ DownloadError (OSError)            a file that could not be fetched
     ├─ ChainError (ValueError)            two readings that differ in more or less than one fact
     └─ MissingExtraError (ImportError)    an optional library is not installed

Every message answers four questions, in this order: what was asked, what was received, why it fails, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ChainError",
    "DataError",
    "DownloadError",
    "DtypeError",
    "FrameError",
    "FrozenError",
    "GraphError",
    "InputError",
    "MissingExtraError",
    "MissingFileError",
    "NotBuiltError",
    "NotCalledError",
    "NotCompiledError",
    "ShapeError",
    "StateError",
    "UnknownNameError",
    "VeraxError",
    "VeraxWarning",
]


class VeraxWarning(UserWarning):
    """The one warning class of Verax, so that one filter speaks to all of them."""


class VeraxError(Exception):
    """Base of all errors of Verax.

    Args:
        asked: What was asked for, with the layer path or argument name.
        received: What was received: shape, dtype, value, path.
        because: Why that cannot work.
        do: What to do instead.

    >>> print(VeraxError("Dense 'a' maps the last axis of its input.", received="shape (32, 5)",
    ...                  because="its kernel was built for 4 features", do="Give it 4 features."))
    Dense 'a' maps the last axis of its input.
      Received: shape (32, 5)
      Because:  its kernel was built for 4 features
      Do:       Give it 4 features.
    """

    def __init__(self, asked: str, *, received: str | None = None, because: str | None = None, do: str | None = None):
        self.asked, self.received, self.because, self.do = asked, received, because, do
        lines = [asked]
        for label, text in (("Received:", received), ("Because: ", because), ("Do:      ", do)):
            if text:
                lines.append(f"  {label} {text}")
        super().__init__("\n".join(lines))

    def __str__(self) -> str:  # KeyError and friends would print the repr
        return str(self.args[0])


class InputError(VeraxError, ValueError):
    """Something a person passed cannot be used."""


class ShapeError(InputError):
    """A rank, a feature count or a shape does not fit."""


class DtypeError(InputError, TypeError):
    """A dtype does not fit."""


class DataError(InputError):
    """Rows that cannot be used: none, of unequal number, NaN, a label out of range."""


class MissingFileError(DataError, FileNotFoundError):
    """No file has that name."""


class UnknownNameError(InputError, LookupError):
    """A string that names nothing.

    >>> print(UnknownNameError.among("loss", "mean_square_error", ["mean_squared_error", "huber"]))
    A loss was asked for by name.
      Received: 'mean_square_error'
      Because:  no loss has that name
      Do:       Did you mean 'mean_squared_error'?
    """

    @classmethod
    def among(cls, kind: str, name: object, known: Iterable[str], hint: str = "") -> UnknownNameError:
        """The error for ``name``, which is none of ``known``, with the nearest of them, and a further hint."""
        names = sorted(set(known))
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        if near:
            do = "Did you mean " + " or ".join(repr(n) for n in near) + "?"
        elif len(names) <= 60 or not hint:
            do = "Use one of " + ", ".join(repr(n) for n in names) + "."
        else:
            do = ""
        article = "An" if kind[:1] in "aeiou" else "A"
        return cls(
            f"{article} {kind} was asked for by name.",
            received=repr(name),
            because=f"no {kind} has that name",
            do=f"{do} {hint}".strip(),
        )


class GraphError(InputError):
    """Symbolic tensors that do not form one graph, or a symbolic tensor where an array is needed."""


class StateError(VeraxError, RuntimeError):
    """The right call at the wrong time."""


class NotBuiltError(StateError):
    """Weights do not exist yet."""


class NotCalledError(StateError, AttributeError):
    """A layer has not been called on a symbolic tensor."""


class NotCompiledError(StateError):
    """``compile`` was not called."""


class FrozenError(StateError, AttributeError):
    """The configuration of a built layer was to be changed."""


class FrameError(StateError):
    """A layer was used where its frame cannot follow, or assigned where nothing collects."""


class DownloadError(VeraxError, OSError):
    """A file could not be fetched: no network, no such address, or another file than expected."""


class ChainError(VeraxError, ValueError):
    """Two readings that differ in more, or less, than one fact."""


class MissingExtraError(VeraxError, ImportError):
    """An optional library is not installed.

    >>> print(MissingExtraError.of("matplotlib", extra="plot", asked="gap.plot() draws with matplotlib."))
    gap.plot() draws with matplotlib.
      Because:  matplotlib is not installed
      Do:       pip install 'verax[plot]'
    """

    @classmethod
    def of(cls, library: str, *, extra: str, asked: str) -> MissingExtraError:
        """The error for ``library``, which the extra named ``extra`` installs."""
        return cls(asked, because=f"{library} is not installed", do=f"pip install 'verax[{extra}]'")
