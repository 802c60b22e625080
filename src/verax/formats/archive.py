"""Zip archives read with care, member by member, in memory or from where they stand in the file."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from verax.errors import DataError, VeraxError

__all__ = ["Archive", "Directory", "opened"]

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_MOST_MEMBERS, _BLOCK = 100_000, 1 << 20
#: deflate makes nothing more than 1,032 times smaller; whoever comes near it has packed nothing but zeros.
_GREATEST_RATIO, _NOTHING = 200, 1 << 24


class Archive:
    """A zip archive that is open: its members, checked."""

    def __init__(self, name: str, file: IO[bytes]):
        self.name = name
        self._file = file
        with self._explained():
            self._zip = zipfile.ZipFile(file)
            self._members = {m.filename: m for m in self._zip.infolist() if not m.is_dir()}
            self._check()

    def names(self) -> list[str]:
        """The members' paths."""
        return list(self._members)

    def size(self, name: str) -> int:
        """The bytes of a member."""
        return self._members[name].file_size

    def read(self, name: str, most: int = 1 << 28) -> bytes:
        """A member's bytes, at most so many."""
        member = self._member(name)
        if member.file_size > most:
            raise self._refused(f"{name!r} of {member.file_size:,} bytes", f"it is a text of at most {most:,}")
        with self._explained(name):
            return self._zip.read(member)

    @contextlib.contextmanager
    def file(self, name: str) -> Generator[IO[bytes]]:
        """A member as a file to read and seek in, its checksum compared first; a stored one is not copied."""
        member = self._member(name)
        with contextlib.ExitStack() as stack:
            with self._explained(name):
                if member.compress_type == zipfile.ZIP_STORED:
                    found: IO[bytes] = self._slice(member)
                else:
                    found = io.BytesIO(self._zip.read(member))
            stack.enter_context(found)
            yield found

    def _slice(self, member: zipfile.ZipInfo) -> IO[bytes]:
        self._file.seek(member.header_offset)
        head = self._file.read(30)
        if len(head) != 30 or head[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("a member is not where the archive says")
        named, further = struct.unpack("<HH", head[26:30])
        start = member.header_offset + 30 + named + further
        found = io.BufferedReader(_Slice(self._file, start, member.file_size), _BLOCK)
        crc = 0
        while block := found.read(_BLOCK):
            crc = zlib.crc32(block, crc)
        if found.tell() != member.file_size or crc != member.CRC:
            raise zipfile.BadZipFile("its bytes are not those that were written")
        found.seek(0)
        return found

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise self._refused(f"a file without {name!r}", f"it holds {self.names()[:5]}")
        return self._members[name]

    def _check(self) -> None:
        members = self._zip.infolist()
        if len(members) > _MOST_MEMBERS or len({m.filename for m in members}) != len(members):
            raise self._refused(f"{len(members):,} members", "they are too many, or two have one name")
        packed = 0
        for member in members:
            _check_name(self.name, member.filename)
            packed += member.compress_size
            if stat.S_ISLNK(member.external_attr >> 16):
                raise self._refused(f"{member.filename!r}, a link", "a model's file needs no links")
            if member.flag_bits & 1 or member.compress_type not in _METHODS:
                raise self._refused(f"{member.filename!r}, encrypted or packed in an unusual way", "it cannot be read")
            if member.file_size > max(_GREATEST_RATIO * member.compress_size, _NOTHING):
                raise self._refused(
                    f"{member.filename!r}, {member.file_size:,} bytes from {member.compress_size:,}",
                    "so much is not in so little",
                )
        if packed > self._file.seek(0, os.SEEK_END):
            raise self._refused(f"members of {packed:,} bytes together", "the file is smaller: they overlap")

    def _refused(self, received: str, because: str) -> DataError:
        return DataError(f"{self.name} was to be read.", received=received, because=because)

    @contextlib.contextmanager
    def _explained(self, member: str = "") -> Generator[None]:
        try:
            yield
        except VeraxError:
            raise
        except Exception as error:  # at damaged bytes zipfile raises what its parts happen to raise
            raise DataError(
                f"{self.name} was to be read.",
                received=f"{member!r}: {error}" if member else str(error),
                because="it is not a whole zip archive",
                do="Take another copy of it.",
            ) from error


class Directory:
    """A folder that holds what an archive would."""

    def __init__(self, path: Path):
        self.name = str(path)
        self._path = path

    def names(self) -> list[str]:
        """The files' paths."""
        return [p.relative_to(self._path).as_posix() for p in sorted(self._path.rglob("*")) if p.is_file()]

    def size(self, name: str) -> int:
        """The bytes of a file."""
        return (self._path / name).stat().st_size

    def read(self, name: str, most: int = 1 << 28) -> bytes:
        """A file's bytes, at most so many."""
        with self.file(name) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise DataError(f"{self.name} was to be read.", received=f"{name!r}", because=f"it has over {most:,} bytes")
        return data

    @contextlib.contextmanager
    def file(self, name: str) -> Generator[IO[bytes]]:
        """A file, open."""
        _check_name(self.name, name)
        if name not in self.names():
            raise DataError(f"{self.name} was to be read.", received=f"a folder without {name!r}")
        with (self._path / name).open("rb") as file:
            yield file


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Generator[Archive | Directory]:
    """An archive, or a folder that holds what one would, while the block runs.

    Raises:
        DataError: It is no zip archive, or is damaged, or has members that would be written outside of a folder, that
            are links, encrypted, or larger than their bytes can be.
    """
    path = Path(path)
    if path.is_dir():
        yield Directory(path)
        return
    with path.open("rb") as file:
        yield Archive(str(path), file)


class _Slice(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: IO[bytes], start: int, length: int):
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._length - self._at))
        self._file.seek(self._start + self._at)
        data = self._file.read(count)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def _check_name(archive: str, name: str) -> None:
    parts: Iterator[str] = iter(PurePosixPath(name.replace("\\", "/")).parts)
    if name.startswith(("/", "\\")) or ":" in name or "\0" in name or any(part == ".." for part in parts):
        raise DataError(
            f"{archive} was to be read.", received=f"a member named {name!r}", because="it lies outside of the archive"
        )
