"""Small files: regular ones of a bounded size are read; nothing waits, and no link of a bundle is followed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from navit_edge import _core, files
from navit_edge.bench.workload import read_sizes
from navit_edge.bundle import manifest
from navit_edge.cli.image_sizes import read_histogram
from navit_edge.compile.report import BuildReport
from navit_edge.errors import BundleError, InvalidInputError


def link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(b"{}")
    path.symlink_to(target)


def sock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket is short
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


KINDS: dict[str, Callable[[Path], object]] = {
    "a link": link,
    "a folder": Path.mkdir,
    "a pipe (FIFO)": os.mkfifo,
    "a socket": sock,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


def test_a_regular_file_is_read_whole_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"x", bytes(range(256)) * 4096):
        path.write_bytes(content)
        assert files.read_regular(path, most_bytes=len(content)) == content
    with pytest.raises(BundleError, match=r"file has 1048576 bytes; expected at most 1048575; check"):
        files.read_regular(path, most_bytes=1048575)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a device"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / "manifest.json")
    with pytest.raises(InvalidInputError) as caught:
        files.read_regular(tmp_path / "manifest.json", most_bytes=100, error=InvalidInputError)
    assert f"manifest.json is {kind}; expected" in str(caught.value)
    for read in (manifest.load, lambda bundle: _core.memory_plan(str(bundle), "x", threads=1)):
        with pytest.raises(BundleError) as caught_bundle:
            read(tmp_path)
        assert f"is {kind}; expected" in str(caught_bundle.value)


def test_a_link_that_a_user_names_is_followed_and_what_it_leads_to_held_to_the_same_rule(tmp_path: Path) -> None:
    link(tmp_path / "link")
    assert files.read_regular(tmp_path / "link", most_bytes=2, follow_links=True) == b"{}"
    KINDS["a device"](tmp_path / "zero")
    with pytest.raises(BundleError, match="zero is a device; expected a regular file"):
        files.read_regular(tmp_path / "zero", most_bytes=100, follow_links=True)


def test_a_file_that_grows_while_it_is_read_is_read_no_further_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    opened = os.fstat

    def grown(handle: int) -> os.stat_result:
        found = opened(handle)
        with path.open("ab") as file:
            file.write(bytes(1000))
        return found

    monkeypatch.setattr("navit_edge.files.os.fstat", grown)
    with pytest.raises(BundleError, match="has more than 100 bytes; expected at most 100"):
        files.read_regular(path, most_bytes=100)


def test_a_file_is_read_below_a_folder_that_is_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert files.read_regular("file", most_bytes=1, dir_fd=handle) == b"x"
    finally:
        os.close(handle)


NESTED = "[" * 100_000 + "]" * 100_000


def test_json_of_any_depth_is_decoded_or_refused() -> None:
    with pytest.raises(InvalidInputError, match="config is not JSON: it is nested too deep; expected an object"):
        files.parse_json(NESTED, what="config")
    for wrong in ("", "{", b"\xff", "9" * 5000):
        with pytest.raises(InvalidInputError, match="config is not JSON: "):
            files.parse_json(wrong, what="config")
    assert files.parse_json('{"a": [1]}', what="config") == {"a": [1]}


def test_a_report_of_any_content_is_decoded_or_refused() -> None:
    for wrong in (b"", b"[]", b'{"key": 1}', NESTED.encode(), b'{"later": ' + NESTED.encode() + b"}", b"\xff"):
        with pytest.raises(BundleError, match="reports/x"):
            files.decode_json(wrong, BuildReport, source="reports/x")


@pytest.mark.parametrize("read", [read_sizes, read_histogram])
def test_lists_that_a_user_names_are_regular_files_of_a_bounded_size(
    tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("a folder", "a pipe (FIFO)", "a device"):
        KINDS[kind](tmp_path / kind)
        with pytest.raises(InvalidInputError) as caught:
            read(tmp_path / kind)
        assert f" is {kind}; expected a regular file; with lines height,width" in str(caught.value)
    path = tmp_path / "sizes"
    path.write_bytes(b"\xef\xbb\xbf480,640\n")
    found: Any = read(path)
    assert list(getattr(found, "sizes", found)) == [(480, 640)]
    path.write_bytes(b"\xff\xfe4")
    with pytest.raises(InvalidInputError, match="sizes is not text in UTF-8 "):
        read(path)
    monkeypatch.setattr(files, "MOST_TEXT_BYTES", 2)
    with pytest.raises(InvalidInputError, match="sizes has 3 bytes; expected at most 2"):
        read(path)
