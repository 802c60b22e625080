"""Files that are whole: what was there stays until all is written, and what was left behind goes."""

from __future__ import annotations

import os
import threading

import pytest

from verax.frame.files import written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, text):
    with written_whole(path) as file:
        file.write(text.encode())


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a" / "file.npz"
    write(path, "old")
    with written_whole(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(TypeError, match="bytes-like"), written_whole(path) as file:
        file.write("not bytes")
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.npz"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    mine = [".file.npz.abcdefgh.tmp", ".file.npz.a_b8c9d0.tmp"]
    others = [
        ".file.npz.tmp",
        ".file.npz.abc.tmp",
        ".file.npzz.abcdefgh.tmp",
        "file.npz.abcdefgh.tmp",
        ".other.abcdefgh.tmp",
    ]
    for name in (*mine, *others):
        (tmp_path / name).write_text("half")
    write(tmp_path / "file.npz", "whole")
    assert names(tmp_path) == sorted([*others, "file.npz"])


def test_a_file_that_somebody_writes_now_is_not_taken_away(tmp_path):
    path = tmp_path / "file.npz"
    with written_whole(path) as slow:
        slow.write(b"first")
        write(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["file.npz"]


def test_many_writers_of_one_file(tmp_path):
    path = tmp_path / "file.npz"
    texts = [str(i) * 10_000 for i in range(8)]
    errors = []

    def work(text):
        try:
            for _ in range(20):
                write(path, text)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert not path.exists() or path.read_text() in texts
    for thread in threads:
        thread.join()
    assert not errors
    assert names(tmp_path) == ["file.npz"]
