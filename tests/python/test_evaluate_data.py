"""Labelled images of `navit-edge evaluate`: class folders, CSV, Parquet, and what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from navit_edge.errors import InvalidInputError
from navit_edge.evaluate.data import read_examples, shared_files


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_folder_of_class_folders_gives_each_image_the_name_of_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "cat/b.jpg", tmp_path / "cat/deep/a.png", tmp_path / "dog/a.jpg", tmp_path / "dog/notes.txt",
          tmp_path / "readme.jpg", tmp_path / ".cache/a.jpg")  # fmt: skip
    (tmp_path / "bird").mkdir()
    found = read_examples(tmp_path)
    assert [(one.name, one.label) for one in found.examples] == [
        ("cat/b.jpg", "cat"), ("cat/deep/a.png", "cat"), ("dog/a.jpg", "dog"),
    ]  # fmt: skip
    assert found.empty == ("bird",)
    assert found.skipped == {".txt": 1, "beside the class folders": 1, "hidden": 1}
    assert [str(item.image) for item in found.items()] == [str(tmp_path / one.name) for one in found.examples]


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "all/a.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cat").symlink_to(tmp_path / "all")
    assert read_examples(tmp_path / "data").names == ["cat/a.jpg"]


def test_an_entry_that_leads_nowhere_is_an_image_that_failed(tmp_path: Path) -> None:
    touch(tmp_path / "cat/a.jpg")
    (tmp_path / "cat/b.jpg").symlink_to(tmp_path / "gone.jpg")
    items = list(read_examples(tmp_path).items())
    assert items[0].error is None
    assert "leads nowhere" in str(items[1].error)


def test_tables_give_paths_beside_them_and_labels(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('\ufefflabel,size,path\n"a, b",3,x/1.jpg\n7,4,/abs/2.jpg\n"a, b",3,x/1.jpg\n')
    pq.write_table(pa.table({"path": ["x/1.jpg", "/abs/2.jpg"], "label": ["a, b", "7"]}), tmp_path / "list.parquet")
    of_csv, of_parquet = (read_examples(tmp_path / f"list.{kind}") for kind in ("csv", "parquet"))
    assert of_csv.examples == of_parquet.examples
    assert of_csv.labels == ["a, b", "7"]
    assert [one.path for one in of_csv.examples] == [str(tmp_path / "x/1.jpg"), "/abs/2.jpg"]
    assert of_csv.skipped == {"named twice": 1}
    assert of_csv.digest == of_parquet.digest


def test_whole_numbers_are_labels_in_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["1.jpg", "2.jpg"], "label": [0, 12]}), tmp_path / "list.parquet")
    assert read_examples(tmp_path / "list.parquet").labels == ["0", "12"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,class\na.jpg,1\n", "has no column label; its columns are path, class"),
        ("", "has no column path and no column label; its columns are none"),
        ("path,label\n", "has no rows"),
        ("path,label\na.jpg,1\nb.jpg\n", "line 3: label is None; expected a text"),
        ("path,label\n,cat\n", "line 2: path is ''"),
        ("path,label\na.jpg,cat\na.jpg,dog\n", "line 3: a.jpg has the label 'dog' here and 'cat' before"),
        ('path,label\n"a.jpg,cat\n', "expected CSV as RFC 4180"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_examples(tmp_path / "list.csv")


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "flat/a.jpg", tmp_path / "empty/cat/notes.txt", tmp_path / "list.parquet", tmp_path / "list.txt")
    for name, message in (
        ("flat", "holds no class folders"),
        ("empty", "class folders of .* hold no images"),
        ("gone", "there is none; expected a folder of class folders"),
        ("list.txt", "ends in '.txt'; expected a folder of class folders"),
        ("list.parquet", "cannot be read as Parquet"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            read_examples(tmp_path / name)


def test_an_image_of_both_is_found_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path / "test/cat/a.jpg", tmp_path / "test/cat/b.jpg", tmp_path / "train/dog/c.jpg")
    for number, path in enumerate(sorted(tmp_path.rglob("*.jpg"))):
        path.write_bytes(b"%d" % number)
    shutil.copy(tmp_path / "test/cat/b.jpg", tmp_path / "train/dog/d.jpg")
    (tmp_path / "train/dog/gone.jpg").symlink_to("nowhere")
    data, train = read_examples(tmp_path / "test"), read_examples(tmp_path / "train")
    assert shared_files(data, train) == ["cat/b.jpg"]
    assert shared_files(data, data) == data.names
