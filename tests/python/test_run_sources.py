"""What the arguments of a job name (navit_edge.run.sources), and which of it is done (navit_edge.run.journal)."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navit_edge.errors import InvalidInputError
from navit_edge.inputs.images import image_files
from navit_edge.run.journal import Remaining
from navit_edge.run.sources import Item, Name, Sources


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/{b,a}.jpg, notes.txt, photos/deep/{c.PNG,deeper/d.webp}, photos/empty/; the working directory is above."""
    for name in ("photos/b.jpg", "photos/a.jpg", "photos/notes.txt", "photos/deep/c.PNG", "photos/deep/deeper/d.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "photos" / "empty").mkdir()
    (tmp_path / "photos" / "deep" / "up").symlink_to("..")  # a link that would lead round and round
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str, stdin: bytes | None = None, recursive: bool = False, null: bool = False) -> list[str]:
    buffer = None if stdin is None else io.BytesIO(stdin)
    sources = Sources(arguments=arguments, recursive=recursive, null=null, stdin=buffer)
    sources.check()
    return [str(item.name) for item in sources.items()]


@pytest.mark.usefixtures("tree")
def test_a_folder_gives_its_images_sorted_and_with_recursive_those_below_it() -> None:
    assert names("photos") == ["photos/a.jpg", "photos/b.jpg"]
    assert names("./photos/", recursive=True) == [
        "photos/a.jpg", "photos/b.jpg", "photos/deep/c.PNG", "photos/deep/deeper/d.webp"
    ]  # fmt: skip


@pytest.mark.usefixtures("tree")
def test_files_come_as_they_are_given_and_as_often() -> None:
    given = ["photos/b.jpg", "photos/notes.txt", "gone.png", "photos/b.jpg"]
    assert names(*given) == given


@pytest.mark.usefixtures("tree")
def test_a_pattern_gives_the_images_among_what_it_matches() -> None:
    assert names("photos/*.jpg") == ["photos/a.jpg", "photos/b.jpg"]
    assert names("photos/**", recursive=True) == names("photos", recursive=True)
    assert names("photos/d*") == ["photos/deep/c.PNG"]  # a folder that it matches, as the shell would give it
    assert names("photos/*.txt") == ["photos/notes.txt"]


def test_a_file_with_the_name_of_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "[a].jpg").touch()
    (tree / "a.jpg").touch()
    assert names("[a].jpg") == ["[a].jpg"]


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("argument", ["photos/empty", "photos/*.gif", "photos/empty/*"])
def test_a_folder_or_a_pattern_without_images_is_refused_before_anything_runs(argument: str) -> None:
    with pytest.raises(
        InvalidInputError, match=r"(holds|matches) no images; .*expected files named \.jpg, \.mpo, \.png"
    ):
        Sources(arguments=["photos", argument]).check()


@pytest.mark.usefixtures("tree")
def test_paths_on_standard_input_end_with_a_line_or_a_nul() -> None:
    assert names("-", stdin=b"photos/a.jpg\r\n\nphotos/b.jpg") == ["photos/a.jpg", "photos/b.jpg"]
    assert names("-", stdin=b"photos/a.jpg\0odd\nname.jpg\0", null=True) == ["photos/a.jpg", "odd\nname.jpg"]
    assert names("photos/b.jpg", "-", stdin=b"photos\n") == ["photos/b.jpg", "photos/a.jpg", "photos/b.jpg"]
    with pytest.raises(InvalidInputError, match="need --null"):
        names("-", stdin=b"a.jpg\0b.jpg\0")
    with pytest.raises(InvalidInputError, match="can be read once"):
        Sources(arguments=["-", "-"]).check()


@pytest.mark.usefixtures("tree")
def test_a_line_of_standard_input_that_names_an_empty_folder_fails_alone() -> None:
    sources = Sources(arguments=["-"], stdin=io.BytesIO(b"photos/empty\nphotos/a.jpg\n"))
    first, second = sources.items()
    assert "holds no images" in str(first.error)
    assert (str(second.name), second.error) == ("photos/a.jpg", None)


def test_standard_input_is_read_as_it_is_needed_and_left_when_the_job_stops() -> None:
    reader, writer = os.pipe()
    stop_reader, stop_writer = os.pipe()
    with open(reader, "rb") as stdin:
        items = Sources(arguments=["-"], stdin=stdin).items(stop_reader)
        os.write(writer, b"one.jpg\ntwo.jpg\nthr")
        assert str(next(items).name) == "one.jpg"
        assert str(next(items).name) == "two.jpg"  # the writer has not finished, nor closed
        timer = threading.Timer(0.1, os.write, (stop_writer, b"x"))
        timer.start()
        assert list(items) == []
        timer.join()
    for handle in (writer, stop_reader, stop_writer):
        os.close(handle)


def test_paths_on_standard_input_are_not_collected() -> None:
    """Resident memory of a process that reads them grows by less than the names alone would need."""
    code = """
import resource, sys
from navit_edge.run.sources import Sources
from navit_edge.run.journal import Remaining
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
items = Remaining(iter(())).of(Sources(arguments=["-"], stdin=sys.stdin.buffer).items())
next(items); before = peak()
count = 1 + sum(1 for _ in items)
print(count, peak() - before)
"""
    lines = b"".join(b"%0200d.jpg\n" % number for number in range(60_000))  # 12 MB
    done = subprocess.run([sys.executable, "-c", code], input=lines, capture_output=True, check=True)
    count, grown_kib = map(int, done.stdout.split())
    assert count == 60_000
    assert grown_kib < 4096


def test_bytes_of_a_name_that_are_no_text_are_written_so_that_they_can_be_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"th\xe9.jpg")).touch()
    (tmp_path / "thé.jpg").touch()
    found = [item.name.file for item in Sources(arguments=[str(tmp_path)]).items()]
    assert sorted(found) == sorted([f"{tmp_path}/thé.jpg", f"{tmp_path}/th\\xe9.jpg"])


@pytest.mark.usefixtures("tree")
def test_a_folder_that_may_not_be_read_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if path == "photos/deep":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read every folder
    items = list(Sources(arguments=["photos"], recursive=True).items())
    assert [item.error is not None for item in items] == [False, False, True]
    assert "photos/deep cannot be read: Permission denied" in str(items[-1].error)


@pytest.mark.usefixtures("tree")
def test_images_are_counted_without_reading_them() -> None:
    assert Sources(arguments=["photos", "photos/a.jpg"], recursive=True).count() == 5
    assert Sources(arguments=["photos", "-"]).count() is None


@pytest.mark.usefixtures("tree")
def test_commands_that_take_images_only_expand_folders_alike() -> None:
    Path("photos/clip.mp4").touch()
    found = image_files([Path("photos"), Path("x.png")])
    assert found.files == (Path("photos/a.jpg"), Path("photos/b.jpg"), Path("x.png"))
    assert found.left_out() == ["4 entries skipped: 2 folder, 1 .mp4, 1 .txt"]


# --- what is left to do


def items_of(texts: list[str]) -> list[Item]:
    return [Item(name=Name(text)) for text in texts]


def left(named: list[str], done: list[str]) -> tuple[list[str], Remaining]:
    remaining = Remaining(Name(text) for text in done)
    return [item.name.file for item in remaining.of(iter(items_of(named)))], remaining


def test_a_job_goes_on_behind_what_is_done_without_collecting_names() -> None:
    taken = 0

    def done() -> object:
        nonlocal taken
        for number in range(3):
            taken += 1
            yield Name(str(number))

    remaining = Remaining(done())  # type: ignore[arg-type]
    source = remaining.of(iter(items_of([str(number) for number in range(6)])))
    assert next(source).name.file == "3"
    assert (taken, remaining.skipped) == (3, 3)
    assert [item.name.file for item in source] == ["4", "5"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), max_size=12), st.integers(0, 12), st.randoms(use_true_random=False))
def test_whatever_was_done_and_in_whatever_order_each_image_is_run_as_often_as_it_is_named(
    named: list[str], count: int, order: random.Random
) -> None:
    """Names may repeat; the order may have changed since; images may have gone and come."""
    done = named[:count]
    changed = [name for name in named if order.random() < 0.8] + order.choices("abcxyz", k=order.randrange(3))
    order.shuffle(changed)
    todo, remaining = left(changed, done)
    expected = Counter(changed) - Counter(done)
    assert Counter(todo) == expected
    assert remaining.skipped == len(changed) - len(todo)
    assert remaining.orphans == sum((Counter(done) - Counter(changed)).values())
    # What is run stands in the order in which it is named.
    if changed == named:
        assert todo == named[count:]


def test_frames_of_one_video_are_images_of_their_own() -> None:
    done = [Name("clip.mp4", 0), Name("clip.mp4")]
    items = [Item(name=Name("clip.mp4", 1)), Item(name=Name("clip.mp4", 0)), Item(name=Name("clip.mp4"))]
    assert [item.name for item in Remaining(iter(done)).of(iter(items))] == [Name("clip.mp4", 1)]
