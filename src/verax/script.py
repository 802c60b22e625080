"""A training script, run as it is and listened to: what ``verax explain`` does.

Nothing but the standard library is imported here before the script runs, so that what it sets for its libraries
(threads, devices, backends) is in time. PyTorch and Keras are listened to from when the script has imported them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verax.errors import InputError, MissingFileError, StateError, VeraxError

if TYPE_CHECKING:
    from verax.ledger.chain import Gap

__all__ = ["Heard", "Printed", "explain_script", "listening", "run_script"]

_INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C ended
_ROOM = os.path.dirname(os.path.abspath(__file__))
_OURS = (__file__, *(os.path.join(_ROOM, room, "") for room in ("torch", "keras", "watch")))


def explain_script(
    script: str, arguments: Sequence[str] = (), *, html: str | None = None, as_json: bool = False
) -> int:
    """Run a training script as Python would, then print why its two numbers differ; the script's own exit status.

    A script that fails has its own traceback and status; what was heard until then is explained all the same.

    Args:
        script: The file.
        arguments: What the script finds in ``sys.argv`` behind its name.
        html: Where to write a page for each gap; None for none.
        as_json: Whether to print the gaps for machines, in one line.

    Raises:
        MissingFileError: There is no such file.
        StateError: The script ended well, and there was nothing to explain; it says why.
    """
    if not os.path.isfile(script):
        raise MissingFileError(
            "A training script was to be run.", received=repr(script), because="there is no file of this name"
        )
    where = None if html is None else _writable(html)
    with listening() as heard:
        status = run_script(script, arguments)
    reports, troubles = heard.reports(), heard.troubles()
    if not reports:
        if status == 0:
            raise _nothing_heard(heard, troubles)
        return status
    if as_json:
        told = [{"of": of, **gap.to_dict()} for of, gap in reports]
        print(
            json.dumps({"script": script, "gaps": told, "unexplained": troubles}, allow_nan=False, ensure_ascii=False)
        )
    else:
        _show(reports, troubles)
    if where is not None:
        for name in _written(where, [gap for _, gap in reports]):
            print(f"Written: {name}", file=sys.stderr)
    return status


# ---- running ---------------------------------------------------------------------------------------------------------


def run_script(script: str, arguments: Sequence[str] = ()) -> int:
    """Run a file as ``python script.py`` does: as ``__main__``, with its folder first in ``sys.path``; its exit status.

    An exception that nobody caught is printed, as ``sys.excepthook`` prints it.

    Args:
        script: The file.
        arguments: What follows its name in ``sys.argv``.
    """
    path = os.path.abspath(script)
    module = types.ModuleType("__main__")
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    vars(module).update(__file__=path, __builtins__=__builtins__, __loader__=loader, __cached__=None)
    before = sys.argv, sys.path[:], sys.modules["__main__"]
    sys.argv = [script, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    sys.modules["__main__"] = module
    try:
        with io.open_code(path) as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
        exec(code, vars(module))
    except SystemExit as ended:
        return _status(ended.code)
    except BaseException as error:
        _strip(error)
        sys.excepthook(type(error), error, error.__traceback__)
        return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        sys.argv, sys.path[:], sys.modules["__main__"] = before
    return 0


def _status(code: Any) -> int:
    """The status of a ``sys.exit(code)``, as Python has it."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


def _strip(error: BaseException | None) -> None:
    """Take what listens out of a traceback, and out of those of its causes: the script's own frames stay."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kept = [tb for tb in _frames(error.__traceback__) if not tb.tb_frame.f_code.co_filename.startswith(_OURS)]
        every = list(_frames(error.__traceback__))
        if not every or not kept or kept[-1] is every[-1]:  # an error of what listens keeps its frames
            for tb, following in zip(kept, [*kept[1:], None], strict=False):
                tb.tb_next = following
            error.__traceback__ = kept[0] if kept else None
        error = error.__cause__ or error.__context__


def _frames(tb: types.TracebackType | None) -> Iterator[types.TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


# ---- listening -------------------------------------------------------------------------------------------------------


class Printed:
    """What a program prints while it is listened to: the last of it, as text.

    The streams stay what they are, and where they are; their ``write`` is heard on its way.
    """

    def __init__(self, most: int = 1 << 18):
        self._most, self._size = most, 0
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What was printed since ``begin``, or the end of it."""
        self._pieces = ["".join(self._pieces)[-self._most :]]
        self._size = len(self._pieces[0])
        return self._pieces[0]

    def begin(self) -> None:
        """Forget what was printed so far."""
        self._pieces, self._size = [], 0

    @contextlib.contextmanager
    def heard(self, *streams: Any) -> Iterator[None]:
        """Within it what is written to the streams is kept."""
        with contextlib.ExitStack() as stack:
            for stream in streams:
                with contextlib.suppress(AttributeError, TypeError):  # no stream, or one that takes no attribute
                    stack.enter_context(self._hear(stream, stream.write))
            yield

    @contextlib.contextmanager
    def _hear(self, stream: Any, write: Callable[[str], Any]) -> Iterator[None]:
        def heard(text: str) -> Any:
            written = write(text)
            self._pieces.append(text)
            self._size += len(text)
            if self._size > 2 * self._most:
                _ = self.text
            return written

        own = vars(stream).get("write")
        stream.write = heard
        try:
            yield
        finally:
            if vars(stream).get("write") is heard:
                if own is None:
                    del stream.write
                else:
                    stream.write = own


class _Opening(importlib.abc.MetaPathFinder):
    """Tells when a module has been imported; the module, its loader and its spec are what they would be."""

    def __init__(self, wanted: Sequence[str], opened: Callable[[str], None]):
        self._wanted, self._opened = set(wanted), opened
        self._asking: set[str] = set()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders have; its loader tells when it has loaded the module."""
        if fullname not in self._wanted or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking.discard(fullname)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            load = loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                if vars(loader).get("exec_module") is exec_module:
                    del loader.exec_module
                load(module)
                if module.__name__ in self._wanted & {fullname}:
                    self._wanted.discard(fullname)
                    self._opened(fullname)

            with contextlib.suppress(AttributeError):
                loader.exec_module = exec_module
        return spec


class Heard:
    """What was heard of a script's training."""

    #: What listens to each library; it is imported after it.
    ROOMS = ("keras", "torch")

    def __init__(self) -> None:
        self.printed = Printed()
        self.watched: dict[str, Any] = {}
        self.broken: dict[str, str] = {}
        self.stack = contextlib.ExitStack()

    def opened(self, library: str) -> None:
        """A library has been imported: listen to it."""
        try:
            if library == "torch":
                watching = importlib.import_module("verax.torch.script").watching(self.printed)
            else:
                watching = importlib.import_module("verax.keras").watching(verbose=0)
            self.watched[library] = self.stack.enter_context(watching)
        except Exception as error:  # a script that runs without Verax runs with it
            self.broken[library] = f"{type(error).__name__}: {error}"

    def reports(self) -> list[tuple[str, Gap]]:
        """Every gap, with what it is of."""
        found: list[tuple[str, Gap]] = []
        for fit in self._fits():
            with contextlib.suppress(VeraxError):
                found.append((_name_of(fit), fit.gap))
        if "torch" in self.watched:
            found += self.watched["torch"].reports
        return found

    def troubles(self) -> list[str]:
        """Why something that was heard is not explained, in words."""
        found: list[str] = []
        for fit in self._fits():
            try:
                _ = fit.gap
            except VeraxError as error:
                found.append(f"{_name_of(fit)}: {error.because or error}")
        if "torch" in self.watched:
            found += self.watched["torch"].troubles
        return found

    def _fits(self) -> list[Any]:
        return list(self.watched["keras"].fits) if "keras" in self.watched else []


def _name_of(fit: Any) -> str:
    return str(getattr(getattr(fit, "model", None), "name", "model"))


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Within it the training of Keras and PyTorch models is heard, from when these libraries are imported."""
    heard = Heard()
    finder = _Opening(Heard.ROOMS, heard.opened)
    loaded = [name for name in Heard.ROOMS if name in sys.modules]
    with heard.printed.heard(sys.stdout, sys.stderr), heard.stack:
        sys.meta_path.insert(0, finder)
        try:
            for name in loaded:
                heard.opened(name)
            yield heard
        finally:
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(finder)


# ---- reporting -------------------------------------------------------------------------------------------------------


def _nothing_heard(heard: Heard, troubles: Sequence[str]) -> VeraxError:
    if heard.broken:
        library, why = next(iter(heard.broken.items()))
        because, do = f"{library} could not be listened to: {why}", f"Install a newer {library}, or an older one."
    elif troubles:
        because, do = "; ".join(troubles), None
        if "validat" in because:
            do = "Let it validate: in a loop, after each epoch; in Keras, fit with validation_data."
    elif not heard.watched:
        because = "it imported neither Keras nor PyTorch"
        do = "Name the script that trains. (A model of Verax itself has history.gap().)"
    elif "keras" in heard.watched and "torch" not in heard.watched:
        because, do = "no model's fit was called", "Name the script that trains, with the arguments that make it train."
    else:
        because = "no model was trained in this process: neither fit nor a backward after a call of a model was heard"
        do = "Name the script that trains, with the arguments that make it train; in one process, not several."
    return StateError("The gap of a script's training was to be explained.", because=because, do=do)


def _show(reports: Sequence[tuple[str, Gap]], troubles: Sequence[str]) -> None:
    for i, (of, gap) in enumerate(reports):
        title = f"Why {gap.validation.name} is not {gap.train.name}, cause by cause"
        _title(title if len(reports) == 1 else f"{of} ({i + 1} of {len(reports)}): {title[0].lower()}{title[1:]}")
        if sys.stdout.isatty():
            from rich.console import Console

            Console(highlight=False).print(gap)
        else:
            print(gap)
    for trouble in troubles:
        print(f"\nNot explained: {trouble}.")


def _title(title: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}")


def _writable(html: str) -> Path:
    """The page's absolute path: a script may go to another folder."""
    path = Path(html).absolute()
    if not path.parent.is_dir():
        raise InputError(
            "A page was to be written.", received=repr(html), because="its folder does not exist", do="Make the folder."
        )
    return path


def _written(path: Path, gaps: Sequence[Gap]) -> list[str]:
    """Write a page for each gap: page.html, page-2.html, ..."""
    names = [str(path if i == 0 else path.with_stem(f"{path.stem}-{i + 1}")) for i in range(len(gaps))]
    for name, gap in zip(names, gaps, strict=True):
        gap.to_html(name)
    return names
