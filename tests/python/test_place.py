"""Where results are written (navit_edge.place), and what stands there afterwards."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from navit_edge.place import Kind, OutputError, find_place, write_file

DATA = bytes(range(256)) * 1000  # more than a pipe holds


def tree(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_whole_or_as_it_was_and_nothing_is_left_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.json"
    write_file(path, b"first")
    path.chmod(0o640)
    write_file(path, DATA)
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # as it was
    monkeypatch.setattr(os, "write", _full_disk)
    with pytest.raises(OutputError, match=r"t\.json cannot be written: No space left on device; make room"):
        write_file(path, b"second")
    with pytest.raises(OutputError, match="No space left"):
        write_file(tmp_path / "new.json", b"second")
    assert path.read_bytes() == DATA
    assert tree(tmp_path) == ["t.json"]


def _full_disk(handle: int, data: bytes) -> int:
    raise OSError(28, os.strerror(28))


def test_a_new_file_has_the_permissions_of_new_files(tmp_path: Path) -> None:
    write_file(tmp_path / "ours", b"x")
    (tmp_path / "theirs").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far/target.json")
    for data in (b"first", b"second"):  # the first leads to nothing yet
        write_file(tmp_path / "link", data)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far" / "target.json").read_bytes() == data
    assert tree(tmp_path) == ["far", "link"]
    assert tree(tmp_path / "far") == ["target.json"]


def test_devices_are_written_to_and_stay_devices() -> None:
    before = os.stat("/dev/null")
    write_file("/dev/null", DATA)
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode)
    assert (before.st_ino, before.st_rdev) == (after.st_ino, after.st_rdev)
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space left on device"):
        write_file("/dev/full", DATA)


def test_a_link_to_a_device_is_that_device(tmp_path: Path) -> None:
    (tmp_path / "out.json").symlink_to("/dev/null")
    write_file(tmp_path / "out.json", DATA)
    assert os.readlink(tmp_path / "out.json") == "/dev/null"
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_gets_all_of_it_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    write_file(tmp_path / "pipe", DATA)
    reader.join(60)
    assert found == [DATA]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert tree(tmp_path) == ["pipe"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_a_descriptor_that_leads_to_a_file_is_gone_on_with_where_it_stands(tmp_path: Path, name: str) -> None:
    """Replacing the file by its name would lose what the shell's redirection has written before."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = f"import os; from navit_edge.place import write_file; os.write(1, b'head '); write_file({name!r}, b'body')"
    with (tmp_path / "out.txt").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, cwd=tmp_path)
    assert (tmp_path / "out.txt").read_bytes() == b"head body"
    assert tree(tmp_path) == ["link", "out.txt"]


def test_a_file_that_cannot_be_replaced_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is mounted into a container, or whose folder takes no new names."""
    path = tmp_path / "mounted.json"
    path.write_bytes(b"something longer than before")

    def busy(*_: object, **__: object) -> None:
        raise OSError(16, os.strerror(16))

    monkeypatch.setattr(os, "replace", busy)
    write_file(path, b"new")
    assert path.read_bytes() == b"new"

    real_open = os.open

    def denied(path: str, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        if flags & os.O_EXCL:
            raise PermissionError(13, os.strerror(13))
        return real_open(path, flags, *mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", denied)
    write_file(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert tree(tmp_path) == ["mounted.json"]
    with pytest.raises(OutputError, match="Permission denied"):
        write_file(tmp_path / "none.json", b"new")


def test_nobody_can_lay_a_link_where_a_file_is_prepared(tmp_path: Path) -> None:
    """Its name is not known before, and it is made, never opened."""
    write_file(tmp_path / "t.json", b"x")
    names = set()
    real = os.replace
    try:
        os.replace = lambda source, target, **_: (names.add(source), real(source, target))  # type: ignore[assignment]
        for _ in range(5):
            write_file(tmp_path / "t.json", b"x")
    finally:
        os.replace = real
    assert len(names) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", r"name is empty \(''\)"),
        ("folder", "folder is a folder; expected a file: name one in it"),
        ("none/t.json", "there is no folder .*none; make it first"),
        ("none/", "there is no folder .*none; make it first"),
        ("file/t.json", "Not a directory"),
        ("round", "Too many levels of symbolic links"),
        ("nul\0.json", "null|NUL"),
        ("x" * 300, "File name too long"),
        ("/dev/fd/987", "Bad file descriptor"),
        ("a\x1b[2J/t", r"a\\x1b\[2J"),
    ],
)
def test_where_nothing_can_be_written_it_is_said_why_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    Path("round").symlink_to("round")
    with pytest.raises(OutputError, match=words):
        write_file(name, b"x")
    assert tree(tmp_path) == ["file", "folder", "round"]
    assert tree(Path("folder")) == []


def test_what_stands_at_a_place_is_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    kinds = {name: find_place(tmp_path / name).kind for name in ("pipe", "file", "none", ".")}
    assert kinds == {"pipe": Kind.PIPE, "file": Kind.FILE, "none": Kind.NOTHING, ".": Kind.FOLDER}
    assert find_place("/dev/null").kind is Kind.DEVICE
    assert find_place("/dev/stderr").descriptor == 2
    assert find_place("/dev/../dev/fd/2").descriptor == 2
