"""get_file: fetched once, checked, unpacked without harm; errors that say what to do."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.servers import serving
from verax import utils
from verax.errors import DataError, DownloadError, InputError, UnknownNameError

HELD = b"some bytes" * 1000
SHA, MD5 = hashlib.sha256(HELD).hexdigest(), hashlib.md5(HELD).hexdigest()
NOWHERE = "http://127.0.0.1:9"  # no server listens there


@pytest.fixture(autouse=True)
def _homes(tmp_path, monkeypatch):
    monkeypatch.setenv("VERAX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    utils.disable_interactive_logging()
    yield
    utils.enable_interactive_logging()


def tar(**members: bytes | tarfile.TarInfo) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, held in members.items():
            if isinstance(held, tarfile.TarInfo):
                archive.addfile(held)
            else:
                info = tarfile.TarInfo(name.replace("__", "/"))
                info.size = len(held)
                archive.addfile(info, io.BytesIO(held))
    return made.getvalue()


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    return made.getvalue()


@pytest.mark.parametrize("check", [{}, {"file_hash": SHA}, {"file_hash": MD5}, {"md5_hash": MD5},
                                   {"file_hash": SHA.upper(), "hash_algorithm": "sha256"}])  # fmt: skip
def test_a_file_is_fetched_once(tmp_path, check):
    with serving({"/a/file.bin": HELD}) as seen:
        for _ in range(2):
            path = utils.get_file(origin=f"{seen.address}/a/file.bin", **check)
        assert len(seen) == 1
        assert path == str(tmp_path / "home/datasets/file.bin")
        assert Path(path).read_bytes() == HELD
        utils.get_file(origin=f"{seen.address}/a/file.bin", force_download=True, **check)
        assert len(seen) == 2


def test_the_place_follows_the_arguments(tmp_path):
    with serving({"/f": HELD}) as seen:
        path = utils.get_file("g", f"{seen.address}/f", cache_dir=tmp_path / "other", cache_subdir="models")
    assert path == str(tmp_path / "other/models/g")


def test_a_cached_file_with_another_hash_is_fetched_again(tmp_path):
    target = tmp_path / "home/datasets/f"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")
    with serving({"/f": HELD}) as seen:
        assert utils.get_file(origin=f"{seen.address}/f") == str(target)
        assert not seen  # no hash: what is there is taken
        utils.get_file(origin=f"{seen.address}/f", file_hash=SHA)
    assert target.read_bytes() == HELD


def test_a_file_that_keras_has_is_used_where_its_hash_is_right(tmp_path):
    theirs = tmp_path / "keras/datasets/f"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(HELD)
    assert utils.get_file("f", NOWHERE, file_hash=SHA) == str(theirs)
    theirs.write_bytes(b"other")
    with pytest.raises(DownloadError):
        utils.get_file("f", NOWHERE, file_hash=SHA)
    assert theirs.read_bytes() == b"other"


def test_without_a_network_the_message_says_where_to_put_the_file(tmp_path):
    with pytest.raises(DownloadError) as caught:
        utils.get_file("f.npz", f"{NOWHERE}/f.npz", file_hash=SHA)
    text = str(caught.value)
    place = str(tmp_path / "home/datasets/f.npz")
    assert all(part in text for part in (f"{NOWHERE}/f.npz", "refused", place, f"sha256 hash {SHA}"))
    assert isinstance(caught.value, OSError)
    assert os.listdir(tmp_path / "home/datasets") == []  # no part of a file is left


def test_a_missing_page_and_a_wrong_file_are_errors_that_leave_nothing(tmp_path):
    with serving({"/f": HELD}) as seen:
        with pytest.raises(DownloadError, match="404"):
            utils.get_file(origin=f"{seen.address}/nothing")
        with pytest.raises(DownloadError, match=SHA):
            utils.get_file(origin=f"{seen.address}/f", file_hash="0" * 64)
    with serving({"/f": HELD}, cut=10) as seen, pytest.raises(DownloadError, match=r"9990 of 10000|IncompleteRead"):
        utils.get_file(origin=f"{seen.address}/f")
    assert os.listdir(tmp_path / "home/datasets") == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_was_cut_off(tmp_path, ranges):
    folder = tmp_path / "home/datasets"
    with serving({"/f": HELD}, cut=4000) as seen, pytest.raises(DownloadError, match="6000 of 10000 bytes") as caught:
        utils.get_file("f", f"{seen.address}/f", file_hash=SHA)
    assert "goes on from there" in str(caught.value)
    assert os.listdir(folder) == ["f.part"]
    assert (folder / "f.part").read_bytes() == HELD[:6000]
    with pytest.raises(DownloadError, match="refused"):
        utils.get_file("f", f"{NOWHERE}/f", file_hash=SHA)
    assert os.listdir(folder) == ["f.part"]  # a network that is down takes nothing away
    with serving({"/f": HELD}, ranges=ranges) as seen:
        path = utils.get_file("f", f"{seen.address}/f", file_hash=SHA)
    assert seen[0][2]["Range"] == "bytes=6000-"
    assert len(seen) == 1
    assert Path(path).read_bytes() == HELD
    assert os.listdir(folder) == ["f"]


@pytest.mark.parametrize("part", [b"of another file", HELD + b"and more"], ids=["another file", "too long"])
def test_a_part_of_another_file_is_not_gone_on_with(tmp_path, part):
    folder = tmp_path / "home/datasets"
    folder.mkdir(parents=True)
    (folder / "f.part").write_bytes(part)
    with serving({"/f": HELD}, ranges=True) as seen:
        path = utils.get_file("f", f"{seen.address}/f", file_hash=SHA)
        assert Path(path).read_bytes() == HELD
        assert len(seen) == 2
        (folder / "f").rename(folder / "f.part")
        with pytest.raises(DownloadError, match="another file"):
            utils.get_file("f", f"{seen.address}/f", file_hash="0" * 64)
    assert os.listdir(folder) == []  # nothing to go on from
    with serving({"/f": HELD}, ranges=True) as seen:
        utils.get_file("f", f"{seen.address}/f")
        (folder / "f").rename(folder / "f.part")
        utils.get_file("f", f"{seen.address}/f")  # without a hash nothing says that it is the same file
        assert [dict(headers).get("Range") for _, _, headers, _ in seen] == [None, None]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_archives_are_unpacked_once_into_keras_folders(tmp_path, form):
    held = tar(inner__a=b"a", inner__b=b"b") if form == "tar" else zipped({"inner/a": b"a", "inner/b": b"b"})
    with serving({"/x.tar.gz": held}) as seen:
        address = f"{seen.address}/x.tar.gz"
        places = {
            utils.get_file("named", address, extract=True): "named",
            utils.get_file("named.tar.gz", address, extract=True): "named_extracted",
            utils.get_file(origin=address, extract=True): "x.tar.gz",
            utils.get_file("one", address, extract=True, archive_format=form): "one",
        }
        for folder, name in places.items():
            assert folder == str(tmp_path / "home/datasets" / name)
            assert Path(f"{folder}/inner/a").read_text() == "a"
        fetched = len(seen)
        Path(f"{folder}/mine").touch()
        utils.get_file("one", address, extract=True)
        assert os.path.exists(f"{folder}/mine")  # not unpacked again
        assert len(seen) == fetched
        other = "zip" if form == "tar" else "tar"
        with pytest.raises(DataError, match=f"no {other} archive"):
            utils.get_file("two", address, extract=True, archive_format=other)
        if form == "tar":
            assert utils.get_file("three", address, untar=True).endswith("three")
        assert utils.get_file("four", address, extract=True, archive_format=None).endswith("four")


HARMFUL = {
    "up": tar(**{"..__up": b"x"}),
    "absolute": tar(__tmp__verax_harm=b"x"),
    "deep": tar(**{"a__..__..__up": b"x"}),
    "link": tar(a=member("a", tarfile.SYMTYPE, "../../outside")),
    "absolute link": tar(a=member("a", tarfile.SYMTYPE, "/etc")),
    "hard link": tar(a=member("a", tarfile.LNKTYPE, "../../outside")),
    "chain": tar(a=member("d/l", tarfile.SYMTYPE, ".."), b=member("e", tarfile.SYMTYPE, "d/l/../..")),
    "device": tar(a=member("a", tarfile.CHRTYPE)),
    "zip up": zipped({"../up": b"x"}),
    "zip absolute": zipped({"/tmp/verax_harm": b"x"}),
    "zip drive": zipped({"C:\\harm": b"x"}),
    "zip backslash": zipped({"..\\up": b"x"}),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_an_archive_that_reaches_outside_is_refused_whole(tmp_path, name):
    with serving({"/x": HARMFUL[name]}) as seen, pytest.raises(DataError, match=r"outside|device"):
        utils.get_file("x", f"{seen.address}/x", extract=True)
    assert os.listdir(tmp_path / "home/datasets") == ["x_archive"]
    assert not os.path.exists(tmp_path / "home/up")
    assert not os.path.exists("/tmp/verax_harm")


def test_links_that_stay_inside_are_kept():
    held = tar(a__file=b"x", b=member("link", tarfile.SYMTYPE, "a/file"), c=member("hard", tarfile.LNKTYPE, "a/file"))
    with serving({"/x": held}) as seen:
        folder = utils.get_file("x", f"{seen.address}/x", extract=True)
    assert Path(f"{folder}/link").read_text() == Path(f"{folder}/hard").read_text() == "x"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, InputError, "neither"),
        ({"origin": "http://127.0.0.1:9/"}, InputError, "ends in no name"),
        ({"fname": "a/b", "origin": NOWHERE}, InputError, "no path"),
        ({"fname": ".."}, InputError, "no path"),
        ({"fname": "a"}, InputError, "no origin"),
        ({"fname": "a", "origin": NOWHERE, "file_hash": SHA, "hash_algorithm": "sha1"}, UnknownNameError, "sha256"),
    ],
)
def test_wrong_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        utils.get_file(**arguments)
