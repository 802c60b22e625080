"""Files from the network: fetched once, checked by their hash, and archives unpacked where they cannot do harm."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import secrets
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from verax.errors import DataError, DownloadError, InputError, UnknownNameError
from verax.frame.interactive import is_interactive_logging_enabled
from verax.utils.progbar import Progbar

__all__ = ["get_file", "home", "keras_home"]

_BLOCK = 1 << 20
#: Seconds without an answer after which a server is given up.
_PATIENCE = 30.0


def home() -> Path:
    """Where fetched files are kept: the environment variable VERAX_HOME, or ``~/.verax``."""
    return Path(os.environ.get("VERAX_HOME") or "~/.verax").expanduser()


def keras_home() -> Path:
    """Where Keras keeps its files: the environment variable KERAS_HOME, or ``~/.keras``."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str | Sequence[str] | None = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """Fetch a file once; afterwards, take it from the cache.

    Args:
        fname: Its name in the cache; the last part of ``origin`` when None.
        origin: Where it is fetched from: ``https://...``, ``http://...``, ``ftp://...``, ``file://...``.
        untar: ``extract`` with ``archive_format="tar"``.
        md5_hash: ``file_hash`` by MD5.
        file_hash: The hash it must have, in hexadecimal digits. A cached file with another one is fetched again.
        cache_subdir: The folder in the cache; an absolute path is taken as it is.
        hash_algorithm: ``"sha256"``, ``"md5"``, or ``"auto"``: by the number of digits.
        extract: Unpack the archive beside it.
        archive_format: ``"tar"`` (plain or compressed), ``"zip"``, a list of both, or ``"auto"``, which is both. None
            unpacks nothing.
        cache_dir: The cache; ``$VERAX_HOME`` or ``~/.verax`` when None. Then a file with the right hash in Keras'
            cache (``$KERAS_HOME`` or ``~/.keras``) is used where it is.
        force_download: Fetch it even if the cache has it.

    Returns:
        The path of the file, or of the folder it was unpacked to.

    Raises:
        DownloadError: It could not be fetched, or is another file than the hash says. The message names the place where
            a copy from elsewhere is found.
        DataError: An archive that cannot be read, or with members that would be written outside of its folder.
        InputError: Arguments that name no file.

    The file and the folder are written beside their places and moved there when they are complete. Of a file with a
    hash, what was received before a connection ended is kept as ``.part``, and the next call goes on from there.

    Differs from Keras: an archive that is already unpacked is not unpacked again; one that reaches outside of its
    folder is refused whole; an archive that cannot be read is an error and not a warning; Keras' cache is read only.
    """
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    name = _name(fname, origin)
    base = home() if cache_dir is None else Path(cache_dir).expanduser()
    archive = extract or untar
    target, folder = _places(base / cache_subdir, name, named=fname is not None, archive=archive)
    fresh = False
    if force_download or not (target.exists() and _is_whole(target, file_hash, hash_algorithm)):
        other = None if force_download or cache_dir is not None else _in_keras_cache(cache_subdir, target, file_hash)
        if other is not None and not archive:
            return str(other)
        if other is not None:
            target = other
        else:
            _fetch(origin, target, file_hash, hash_algorithm)
            fresh = True
    if not archive:
        return str(target)
    formats = "tar" if untar else archive_format
    if formats is not None and (fresh or not folder.exists()):
        unpack(target, folder, formats)
    return str(folder)


def _name(fname: Any, origin: str | None) -> str:
    asked = "get_file fetches origin and keeps it as fname."
    name = os.fspath(fname) if fname else ""
    if not name:
        if not origin:
            raise InputError(asked, received="neither", do="Pass origin='https://...'.")
        name = os.path.basename(urllib.parse.urlsplit(origin).path)
        if not name:
            because = "the address ends in no name"
            raise InputError(asked, received=f"origin={origin!r}", because=because, do="Pass fname.")
    if os.path.basename(name) != name or name in (".", ".."):
        because = "it is the name of a file, and no path"
        raise InputError(asked, received=f"fname={name!r}", because=because, do="Say where with cache_subdir.")
    return name


def _places(folder: Path, name: str, *, named: bool, archive: bool) -> tuple[Path, Path]:
    """Where the file is kept, and where it is unpacked: by Keras' names, so that its caches can be shared."""
    if not archive:
        return folder / name, folder / name
    if named and "." in name:
        return folder / name, folder / f"{name.split('.')[0]}_extracted"
    return folder / f"{name}_archive", folder / name


def _in_keras_cache(subdir: str, target: Path, file_hash: str | None) -> Path | None:
    path = keras_home() / subdir / target.name
    return path if file_hash and path.is_file() and _is_whole(path, file_hash, "auto") else None


def _hasher(file_hash: str, algorithm: str) -> Any:
    if algorithm == "auto":
        algorithm = "sha256" if len(file_hash) == 64 else "md5"
    if algorithm not in ("sha256", "md5"):
        raise UnknownNameError.among("hash_algorithm", algorithm, ["sha256", "md5", "auto"])
    return hashlib.new(algorithm, usedforsecurity=False)


def _is_whole(path: Path, file_hash: str | None, algorithm: str) -> bool:
    return file_hash is None or _digest(path, file_hash, algorithm) == file_hash.lower()


def _digest(path: Path, file_hash: str, algorithm: str) -> str:
    """The hash of a file, of the kind that ``file_hash`` is."""
    found = _hasher(file_hash, algorithm)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _fetch(origin: str | None, target: Path, file_hash: str | None, algorithm: str) -> None:
    """Download to ``target``, or go on where an earlier try was cut off: then only the whole is what is checked."""
    if not origin:
        raise InputError(
            f"{target.name} is not in the cache.", received="no origin to fetch it from", do=f"Put it at {target}."
        )
    asked = f"{target.name} was to be fetched from {origin}."
    by_hand = f"Fetch it where there is a network, and put it at {target}."
    if file_hash is not None:
        by_hand += f" It must have the {_hasher(file_hash, algorithm).name} hash {file_hash}."
    with _in_progress(target, keep=file_hash is not None) as path:
        before = path.stat().st_size
        try:
            length = _receive(origin, path)
            # A page that has changed since the part was received is no continuation of it.
            if before and length is None and not _is_whole(path, file_hash, algorithm):
                path.write_bytes(b"")
                length = _receive(origin, path)
        except (urllib.error.URLError, OSError, ValueError, http.client.HTTPException) as error:
            reason = f"{error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else ""
            reason = reason or str(getattr(error, "reason", error))
            raise DownloadError(asked, because=reason, do=by_hand) from error
        done = path.stat().st_size
        if length is not None:
            kept = "The part is kept: asked for again, it goes on from there. " if file_hash is not None else ""
            because = f"the connection ended after {done} of {length} bytes"
            raise DownloadError(asked, because=because, do=kept + by_hand)
        if not _is_whole(path, file_hash, algorithm):
            found = _digest(path, str(file_hash), algorithm)
            path.write_bytes(b"")  # nothing to go on from
            raise DownloadError(
                asked,
                received=f"a file with the {_hasher(str(file_hash), algorithm).name} hash {found}",
                because=f"{file_hash} was expected: it is another file, or a part of it",
                do=by_hand,
            )


@contextlib.contextmanager
def _in_progress(target: Path, *, keep: bool) -> Generator[Path]:
    """A file to write to, which takes the place of ``target`` when the block has ended.

    When it raises, what was written stays beside it as ``.part`` if ``keep``, and is what the next one begins with. It
    has a name of its own while it is written, so that two processes never write to one file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    mine = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        if not keep:
            raise FileNotFoundError
        os.replace(part, mine)
    except FileNotFoundError:
        mine.touch()
    try:
        yield mine
        with mine.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(mine, target)
    except BaseException:
        if keep and mine.stat().st_size:
            os.replace(mine, part)
        else:
            mine.unlink()
        raise


def _receive(origin: str, path: Path) -> int | None:
    """Download to the end of ``path``; its length where the connection ended before that, None where it is all there.

    A server that cannot go on in the middle is taken from the beginning.
    """
    before = path.stat().st_size
    headers = {"User-Agent": "verax"} | ({"Range": f"bytes={before}-"} if before else {})
    try:
        answer = urllib.request.urlopen(urllib.request.Request(origin, headers=headers), timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if not before or error.code != 416:
            raise
        path.write_bytes(b"")  # 416: the file ends before the part does
        return _receive(origin, path)
    with answer, path.open("ab") as file:
        if before and getattr(answer, "status", None) != 206:
            file.truncate(0)
            before = 0
        promised = answer.headers.get("Content-Length")
        length = before + int(promised) if promised else None
        for block in _shown(answer, before, length):
            file.write(block)
            before += len(block)
    return None if length in (None, before) else length


def _shown(answer: Any, done: int, length: int | None) -> Iterator[bytes]:
    """The blocks of an answer; how far it is, where a person watches."""
    bar = Progbar(length, verbose=int(is_interactive_logging_enabled()), unit_name="byte")
    while True:
        try:
            block = answer.read(_BLOCK)
        except http.client.IncompleteRead as error:
            block = error.partial
        if not block:
            return
        done += len(block)
        bar.update(done)
        yield block


# ---- archives --------------------------------------------------------------------------------------------------------


def unpack(path: Path, folder: Path, formats: str | Sequence[str] = "auto") -> None:
    """Unpack an archive into ``folder``, whole or not at all; what was there before is replaced."""
    kinds = ["tar", "zip"] if formats == "auto" else [formats] if isinstance(formats, str) else list(formats)
    for kind in kinds:
        if kind not in ("tar", "zip"):
            raise UnknownNameError.among("archive_format", kind, ["tar", "zip", "auto"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        if "tar" in kinds and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                _untar(archive, temporary)
        elif "zip" in kinds and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    link = stat.S_ISLNK(member.external_attr >> 16)
                    _check_member(path, member.filename, "it is a link" if link else None)
                archive.extractall(temporary)
        else:
            raise DataError(
                f"{path} was to be unpacked.",
                received=f"a file that is no {' or '.join(kinds)} archive",
                do="Pass extract=False, or the archive_format it has.",
            )
        if folder.exists():
            shutil.rmtree(folder)
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} was to be unpacked.", because=f"the archive is broken: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _untar(archive: tarfile.TarFile, folder: Path) -> None:
    members = archive.getmembers()
    for member in members:
        harm = None
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            harm = "it is a device"
        elif member.issym():
            harm = _outside(PurePosixPath(member.name).parent / member.linkname)
        elif member.islnk():
            harm = _outside(PurePosixPath(member.linkname))
        _check_member(Path(str(archive.name)), member.name, harm)
        member.mode = 0o755 if member.isdir() else 0o644
        if hasattr(os, "getuid"):
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    archive.extraction_filter = lambda member, place: member  # checked above
    # Links last, so that no file is written through one.
    archive.extractall(folder, sorted(members, key=lambda member: member.issym()))
    inside = folder.resolve()
    for member in members:
        if member.issym() and not (folder / member.name).resolve().is_relative_to(inside):
            _check_member(Path(str(archive.name)), member.name, "it links to what is outside of the folder")


def _check_member(path: Path, name: str, harm: str | None) -> None:
    harm = harm or _outside(PurePosixPath(name.replace("\\", "/")))
    if harm is not None:
        raise DataError(
            f"{path} was to be unpacked.",
            received=f"the member {name!r}",
            because=harm,
            do="Do not use this archive: a harmless one has no such members.",
        )


def _outside(path: PurePosixPath) -> str | None:
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 0 if part == "." else 1
        if depth < 0:
            break
    if path.is_absolute() or depth < 0 or (path.parts and ":" in path.parts[0]):
        return "it would reach outside of the folder"
    return None
