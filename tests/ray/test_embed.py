"""`navit_edge.ray.Embed` on batches as Ray Data gives them, without a cluster: what it takes, what it adds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image
from several_nodes import make_images

import navit_edge as ne
from navit_edge.errors import InvalidInputError
from navit_edge.ray import Embed, images

ENGINE = "openvino-cpu-fp32"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_images(tmp_path_factory.mktemp("images"), 6)


@pytest.fixture(scope="module")
def embed(tiny_bundle: Path) -> Iterator[Embed]:
    made = Embed(tiny_bundle, engine=ENGINE, threads=1, outputs=("embedding", "logits", "top_k"), top_k=2)
    yield made
    made.session.close()


@pytest.fixture(scope="module")
def alone(paths: list[Path], tiny_bundle: Path) -> list[ne.Result]:
    with ne.Session(tiny_bundle, engine=ENGINE, threads=1) as session:
        return session.run(paths)


def objects(values: list[Any]) -> npt.NDArray[np.object_]:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def forms(paths: list[Path]) -> dict[str, list[Any]]:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in paths:
        memory.pipe(f"/embed/{path.name}", path.read_bytes())
    return {
        "path": [str(path) for path in paths],
        "url": [f"memory://embed/{path.name}" for path in paths],
        "item": [path.as_uri() for path in paths],
        "bytes": [path.read_bytes() for path in paths],
        "image": [np.asarray(Image.open(path)) for path in paths],
    }


def test_paths_urls_bytes_and_pixels_give_the_numbers_of_a_session_in_both_kinds_of_batch(
    paths: list[Path], embed: Embed, alone: list[ne.Result]
) -> None:
    expected = np.stack([result.embedding for result in alone])
    for column, values in forms(paths).items():
        batch = {column: objects(values), "place": np.arange(len(paths))}
        found = embed(batch)
        np.testing.assert_allclose(found["embedding"], expected, atol=1e-5, err_msg=column)
        assert found["grid"].tolist() == [list(result.grid) for result in alone]
        assert found["tokens"].tolist() == [result.token_count for result in alone]
        assert list(found["error"]) == [None] * len(paths)
        assert (column in found) == (column in ("path", "url", "item"))
        assert found["place"].tolist() == list(range(len(paths)))
        if column == "image":
            continue
        table = embed(pa.table({column: values, "place": range(len(paths))}))
        np.testing.assert_allclose(table["embedding"].to_pylist(), expected, atol=1e-5, err_msg=column)
        assert table.schema.field("embedding").type == pa.list_(pa.float32(), expected.shape[1])
        assert table["labels"].to_pylist() == [[one.index for one in result.top_k(2)] for result in alone]
        assert (column in table.column_names) == (column in ("path", "url", "item"))


def test_images_of_one_size_as_one_array(embed: Embed, tiny_bundle: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    with ne.Session(tiny_bundle, engine=ENGINE, threads=1) as session:
        expected = np.stack([result.embedding for result in session.run(list(pixels))])
    np.testing.assert_allclose(embed({"image": pixels})["embedding"], expected, atol=1e-5)


def test_a_row_that_fails_fails_alone(paths: list[Path], embed: Embed, alone: list[ne.Result]) -> None:
    values = [str(paths[0]), "/no/such.png", None, f"file://{paths[1]}", "memory://none.png", "nowhere://x.png"]
    found = embed({"path": objects(values)})
    assert [error is None for error in found["error"]] == [True, False, False, True, False, False]
    for place, words in ((1, "no such file"), (2, "None"), (4, "memory://none.png"), (5, "nowhere")):
        assert words in found["error"][place]
        assert np.isnan(found["embedding"][place]).all()
        assert found["tokens"][place] == 0
    for place, result in ((0, alone[0]), (3, alone[1])):
        np.testing.assert_allclose(found["embedding"][place], result.embedding, atol=1e-5)
    table = embed(pa.table({"path": values}))
    assert [value is None for value in table["embedding"].to_pylist()] == [False, True, True, False, True, True]
    assert [value is None for value in table["scores"].to_pylist()] == [False, True, True, False, True, True]


def test_a_batch_of_failures_and_an_empty_one_have_the_same_columns(embed: Embed, paths: list[Path]) -> None:
    good = embed(pa.table({"path": [str(paths[0])]}))
    bad = embed(pa.table({"path": ["/no/such.png"]}))
    empty = embed(pa.table({"path": pa.array([], pa.string())}))
    assert good.schema == bad.schema == empty.schema


def test_a_batch_that_is_too_large_for_memory_is_run_in_parts(embed: Embed, paths: list[Path]) -> None:
    loads = [lambda path=path: images.Given(np.asarray(Image.open(path))) for path in paths]
    whole = images.run_together(embed.session, loads, threads=2)
    parts = images.run_together(embed.session, loads, threads=2, most_bytes=1)
    assert {result.pack for result in whole} == {0}
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-5)  # type: ignore[arg-type]


def test_what_makes_no_sense_is_refused(embed: Embed, tiny_bundle: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no column is called image, .* there are x"):
        embed({"x": objects(["a"])})
    with pytest.raises(InvalidInputError, match='batch_format="numpy"'):
        embed(["a.png"])
    with pytest.raises(InvalidInputError, match=r"outputs has 'depth', and tiny\.navit gives"):
        Embed(tiny_bundle, outputs=["depth"], engine=ENGINE)
    with pytest.raises(InvalidInputError, match="there is no column 'y'; there are x"):
        Embed(tiny_bundle, column="y", engine=ENGINE)({"x": objects(["a"])})


def test_an_image_that_is_damaged_behind_its_header_fails_alone(embed: Embed, paths: list[Path]) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).save(file, "PNG")
    found = embed({"bytes": objects([file.getvalue()[:3000], paths[0].read_bytes()])})
    assert found["error"][0].startswith("row 0")
    assert found["error"][1] is None
