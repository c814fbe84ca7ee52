"""Entries of folders, patterns and lists of paths (navit_edge.inputs): each is run, skipped by a rule, or an error."""

from __future__ import annotations

import glob
import io
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from navit_edge.cli.export import _read_labels
from navit_edge.cli.image_sizes import read_histogram
from navit_edge.decode.formats import FORMATS, NEVER, SUFFIXES, suffixes_of
from navit_edge.errors import InvalidInputError
from navit_edge.inputs.entries import Folders, Refused, Skipped, Wanted, suffix_of
from navit_edge.inputs.images import image_files
from navit_edge.inputs.patterns import Pattern
from navit_edge.run.sources import Sources
from navit_edge.text import path_of

PNG = b"\x89PNG\r\n\x1a\n"


def found(*arguments: str, recursive: bool = False, stdin: bytes | None = None, null: bool = False) -> Sources:
    buffer = None if stdin is None else io.BytesIO(stdin)
    return Sources(arguments=arguments, recursive=recursive, null=null, stdin=buffer)


def rows(sources: Sources) -> dict[str, str]:
    """File -> its error, "" where it is run."""
    return {item.name.file: str(item.error or "") for item in sources.items()}


def test_every_entry_of_a_folder_is_run_skipped_by_a_rule_and_counted_or_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "z.AVIF", "p.jfif", "p.jp2", "p.heic", "notes.txt", "doc.TXT", ".hidden.jpg", "._a.jpg"):
        Path(name).touch()
    Path("IMG_0001").write_bytes(PNG)
    Path("README").write_bytes(b"Python is needed")
    Path("shot.2024").write_bytes(b"\xff\xd8\xff\xe0")
    Path("below").mkdir()
    Path(".cache").mkdir()
    Path("loop.jpg").symlink_to("loop.jpg")
    Path("gone.png").symlink_to("nowhere.png")
    Path("gone.txt").symlink_to("nowhere.txt")
    Path("gone").symlink_to("nowhere")
    Path("into-a-file.jpg").symlink_to("a.jpg/b.jpg")
    Path("good.jpg").symlink_to("a.jpg")
    Path("folder.jpg").symlink_to("below")
    os.mkfifo("pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        sources = found(".")
        errors = {name.removeprefix("./"): error for name, error in rows(sources).items()}
    assert [name for name, error in errors.items() if not error] == [
        "IMG_0001", "a.jpg", "good.jpg", "p.heic", "p.jfif", "p.jp2", "shot.2024", "z.AVIF"
    ]  # fmt: skip
    failed = {name: error for name, error in errors.items() if error}
    assert list(failed) == ["gone", "gone.png", "into-a-file.jpg", "loop.jpg"]
    assert "loop.jpg is a link that leads back to itself" in failed["loop.jpg"]
    assert all("is a link that leads nowhere" in failed[name] for name in ("gone", "gone.png", "into-a-file.jpg"))
    assert sources.skipped == {
        "hidden": 3, ".txt": 3, "folder": 1, "link to a folder": 1, "pipe": 1, "socket": 1,
        "without a suffix, no image": 1,
    }  # fmt: skip
    assert len(errors) + sources.skipped.total() == len(os.listdir("."))
    assert sources.skipped.words().startswith("11 entries skipped: 3 .txt, 3 hidden, 1 folder")


def test_entries_are_counted_once_however_often_they_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.txt").touch()
    sources = found(str(tmp_path))
    sources.check()
    assert sources.count() == 1
    for _ in range(2):
        list(sources.items())
        assert sources.skipped == {".txt": 1}


def test_folders_are_searched_for_what_the_decoder_decodes() -> None:
    assert set(SUFFIXES) == set(FORMATS)
    Image.init()
    for name in FORMATS:
        registered = {suffix for suffix, of in Image.EXTENSION.items() if of == name}
        assert registered <= set(SUFFIXES[name])
    assert not any(Image.EXTENSION.get(suffix) in NEVER for suffix in suffixes_of(FORMATS))
    assert ".tga" not in suffixes_of(FORMATS)
    assert ".tga" in suffixes_of((*FORMATS, "TGA"))
    assert suffixes_of(("PNG",)) == (".png", ".apng")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
def test_a_file_without_a_suffix_is_taken_by_what_it_holds(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "image", form)
    (tmp_path / "text").write_text("P y\nno image")
    assert image_files([tmp_path]).files == (tmp_path / "image",)


def test_a_suffix_is_what_names_a_kind_of_file() -> None:
    assert [suffix_of(name) for name in ("a.JPG", ".jpg", "a", "a.1", "v1.5 final", "a.tar.gz", "a.jpg~")] == [
        ".jpg", "", "", "", "", ".gz", ".jpg~"
    ]  # fmt: skip


def test_a_folder_that_holds_no_image_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").touch()
    (tmp_path / "b.cr2").touch()
    for call in (found(str(tmp_path)).check, lambda: image_files([tmp_path])):
        with pytest.raises(InvalidInputError, match=r"holds no images.* \(2 entries skipped: 2 .cr2\); expected files"):
            call()  # type: ignore[operator]


def test_a_folder_deeper_than_the_interpreters_stack_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    deep = 1500
    for _ in range(deep):
        os.mkdir("d")
        os.chdir("d")
    Path("a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    try:
        (name,) = rows(found("d", recursive=True))
        assert name == "d/" * deep + "a.jpg"
        assert list(rows(found("**/*.jpg"))) == [name]
    finally:  # shutil's own removal is recursive
        monkeypatch.chdir(tmp_path)
        for _ in range(deep):
            os.chdir("d")
        os.unlink("a.jpg")
        for _ in range(deep):
            os.chdir("..")
            os.rmdir("d")


def test_names_that_differ_in_bytes_that_are_no_text_are_different_images(tmp_path: Path) -> None:
    names = [
        b"by\xff.png",
        b"by\xfe.png",
        b"by\\xff.png",
        b"by\\x5cxff.png",
        "by\u00ff.png".encode(),
        b"\x1b\n\x07.png",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    keys = list(rows(found(str(tmp_path))))
    assert {os.fsencode(path_of(key)) for key in keys} == {os.fsencode(tmp_path) + b"/" + name for name in names}
    listed = b"".join(os.fsencode(tmp_path) + b"/" + name + b"\0" for name in names)
    assert sorted(rows(found("-", stdin=listed, null=True))) == sorted(keys)


# --- arguments and lists


def test_an_empty_argument_is_refused_and_does_not_mean_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").touch()
    with pytest.raises(InvalidInputError, match=r"an argument is empty \(''\); expected an image"):
        found("a.jpg", "").check()


@pytest.mark.parametrize("null", [False, True])
def test_a_byte_order_mark_before_a_list_is_none_of_the_first_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, null: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    end = b"\0" if null else b"\r\n"
    listed = b"\xef\xbb\xbfa.jpg" + end + b"\xef\xbb\xbfb.jpg" + end
    assert list(rows(found("-", stdin=listed, null=null))) == ["a.jpg", "\ufeffb.jpg"]
    Path("\ufeffa.jpg").touch()  # then it is a name
    assert list(rows(found("-", stdin=listed, null=null))) == ["\ufeffa.jpg", "\ufeffb.jpg"]


def test_a_carriage_return_belongs_to_the_line_end_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b.jpg\r").touch()
    assert list(rows(found("-", stdin=b"a.jpg\r\nb.jpg\r\n"))) == ["a.jpg", "b.jpg\r"]


def test_a_list_in_utf_16_is_refused_with_what_it_is() -> None:
    with pytest.raises(InvalidInputError, match="UTF-16, as PowerShell writes it"):
        rows(found("-", stdin="a.jpg\r\nb.jpg\r\n".encode("utf-16")))


def test_a_list_of_sizes_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_bytes(b"\xef\xbb\xbf480,640,12\r\n32,48\r\n")
    read = read_histogram(tmp_path / "sizes.csv")
    assert (read.sizes, read.counts) == (((480, 640), (32, 48)), (12, 1))


def test_a_list_of_labels_has_a_name_a_line_whatever_characters_it_holds(tmp_path: Path) -> None:
    names = ["café", "line\u2028separator", "next\x85line", "", "form\x0cfeed"]
    for end in ("\n", "\r\n"):
        (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbf" + (end.join(names) + end).encode())
        assert _read_labels(tmp_path / "labels.txt") == names


def test_a_line_is_a_path_and_never_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").touch()
    assert list(rows(found("-", stdin=b"*.jpg\n"))) == ["*.jpg"]


# --- patterns


PARTS = ["*", "a", "a*", "[ab]", "?", "*.jpg", "b", "a.jpg", ".*"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*PARTS, "**"]), min_size=1, max_size=3))
def test_a_pattern_matches_what_glob_matches(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    """Of a tree without links; ``glob`` takes what begins with a dot as we do, and a file of any name."""
    root = _tree(tmp_path_factory)
    pattern = "/".join(parts)
    if not glob.has_magic(pattern):
        return
    folders = Folders(Wanted(), recursive=True, skipped=Skipped())
    ours = [path for path in Pattern(str(root / pattern), folders).found() if isinstance(path, str)]
    # A file with a slash behind it, of "a.jpg/**", is no match.
    matched = [Path(path) for path in glob.glob(str(root / pattern), recursive=True) if not path.endswith(".jpg/")]
    theirs = {path for path in matched if path.is_file()}
    if "**" not in parts:  # folders that it names give what they hold
        theirs |= {Path(one) for path in matched if path.is_dir() for one in folders.walk(str(path))}  # type: ignore[arg-type]
    assert len(ours) == len(set(ours))
    assert {Path(path) for path in ours} == {path for path in theirs if path.suffix == ".jpg"}


def _tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.getbasetemp() / "pattern-tree"
    if not root.exists():
        for name in ("a.jpg", "b.txt", "a/a.jpg", "a/b/a.jpg", "a/b/b.jpg", "b/a/ab.jpg", ".h/a.jpg", "a/.h.jpg"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
    return root


def test_a_part_of_a_pattern_that_exists_under_its_very_name_is_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("[ab]", "a"):
        Path(folder).mkdir()
        Path(folder, "x.jpg").touch()
    assert list(rows(found("[ab]/*.jpg"))) == ["[ab]/x.jpg"]
    assert list(rows(found("[ab]"))) == ["[ab]/x.jpg"]
    assert list(rows(found("[ba]/*.jpg"))) == ["a/x.jpg"]


def test_links_to_folders_are_followed_where_a_part_of_a_pattern_names_them_and_not_by_two_stars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("a/x.jpg").touch()
    Path("a/round").symlink_to("..")
    Path("link").symlink_to("a")
    assert list(rows(found("l*/*.jpg"))) == ["link/x.jpg"]
    assert list(rows(found("**/*.jpg"))) == ["a/x.jpg"]


def test_what_a_pattern_matches_and_cannot_be_read_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "x.jpg").touch()
    Path("b/gone.jpg").symlink_to("nowhere")
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _denied(path) if path == "a" else real(path))
    for pattern in ("*/*.jpg", "**/*.jpg"):
        errors = rows(found(pattern))
        assert list(errors) == ["a", "b/gone.jpg", "b/x.jpg"]
        assert "a cannot be read: Permission denied" in errors["a"]
        assert errors["b/x.jpg"] == ""


def _denied(path: str) -> None:
    raise PermissionError(13, "Permission denied", path)


def test_commands_that_take_images_only_say_what_they_leave_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.mp4").touch()
    (tmp_path / "c.jpg").symlink_to("nowhere")
    images = image_files([tmp_path])
    assert images.files == (tmp_path / "a.jpg",)
    assert [type(one) for one in images.refused] == [Refused]
    assert [line.removeprefix(f"{tmp_path}/") for line in images.left_out()] == [
        "c.jpg is a link that leads nowhere; repair the link, or delete it", "1 entry skipped: 1 .mp4"
    ]  # fmt: skip
