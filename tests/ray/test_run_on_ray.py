"""`navit-edge run --ray` and `navit_edge.ray.Embed` on a real cluster of several nodes, against one session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from several_nodes import RayCluster, check_lines, ended, eventually, feed, lines_of, make_images, started

import navit_edge as ne

pytest.importorskip("ray.cluster_utils", reason="needs navit-edge[ray]")

COUNT = 240
BAD = 101
PRECISION = "openvino-cpu-fp32"

EMBED = """
import sys
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from navit_edge.ray import Embed

address, bundle, engine, output, *paths = sys.argv[1:]
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
context = ray.data.DataContext.get_current()
context.enable_progress_bars = False
rows = [{"path": path, "place": place} for place, path in enumerate(paths)]
data = ray.data.from_items(rows, override_num_blocks=4).map_batches(
    Embed,
    fn_constructor_kwargs={"bundle": bundle, "engine": engine, "outputs": ["embedding", "top_k"], "top_k": 2},
    batch_size=16,
    batch_format="pyarrow",
    concurrency=2,
    num_cpus=1,
)
pq.write_table(pa.concat_tables(data.iter_batches(batch_size=None, batch_format="pyarrow")), output)
"""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = make_images(tmp_path_factory.mktemp("images"), COUNT)
    made[BAD].write_bytes(b"no image")
    return made


@pytest.fixture(scope="module")
def alone(paths: list[Path], tiny_bundle: Path) -> list[ne.Result]:
    """What one session gives."""
    with ne.Session(tiny_bundle, engine=PRECISION, threads=1) as session:
        return session.run(paths, on_error="return")


def test_a_job_that_is_stopped_and_loses_an_actor_has_every_image_once_with_the_numbers_of_one_session(
    cluster: RayCluster, paths: list[Path], alone: list[ne.Result], tiny_bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    job = started(cluster, tiny_bundle, output, "--ray-batch", "8")
    feed(job, paths[: COUNT // 3])
    eventually(job, lambda: len(lines_of(output)) > 0)
    job.send_signal(signal.SIGTERM)
    code, said = ended(job)
    assert code == 128 + signal.SIGTERM, said
    assert "--resume continues from here" in said
    before = lines_of(output)
    assert [line["file"] for line in before] == [str(path) for path in paths[: len(before)]]

    cluster.wait_for_actors(0)  # of the first job
    page = tmp_path / "page.html"
    job = started(cluster, tiny_bundle, output, "--ray-batch", "8", "--resume", "--html", str(page))
    feed(job, paths[: COUNT // 2])
    eventually(job, lambda: len(lines_of(output)) > len(before))
    actors = cluster.wait_for_actors(2)
    feed(job, paths[COUNT // 2 :])
    os.kill(actors[0], signal.SIGKILL)
    code, said = ended(job)
    assert code == 1, said
    assert f"{len(before)} done before" in said
    assert f"1 of {COUNT} images failed" in said

    check_lines(lines_of(output), paths, alone)
    assert [place for place, line in enumerate(lines_of(output)) if "error" in line] == [BAD]
    assert "not an image in a format" in page.read_text("utf-8")  # results come along for it


@pytest.mark.skipif(find_spec("pandas") is None, reason="needs ray[data]")
def test_a_data_set_gets_columns_of_the_same_numbers_and_one_bad_row_fails_alone(
    cluster: RayCluster, paths: list[Path], alone: list[ne.Result], tiny_bundle: Path, tmp_path: Path
) -> None:
    some = slice(BAD - 32, BAD + 32)
    output = tmp_path / "rows.parquet"
    arguments = [cluster.address, str(tiny_bundle), PRECISION, str(output), *map(str, paths[some])]
    done = subprocess.run(
        [sys.executable, "-c", EMBED, *arguments], env=cluster.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    table = pq.read_table(output).sort_by("place")
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[64]"
    rows = table.to_pylist()
    assert [row["place"] for row in rows] == list(range(64))
    for row, result in zip(rows, alone[some], strict=True):
        if result.error is not None:
            assert row["error"] == str(result.error)
            assert row["embedding"] is None
            assert row["labels"] is None
            continue
        assert row["error"] is None
        np.testing.assert_allclose(row["embedding"], result.embedding, atol=1e-5)
        assert row["grid"] == list(result.grid)
        assert row["tokens"] == result.token_count
        assert row["labels"] == [one.index for one in result.top_k(2)]
        np.testing.assert_allclose(row["scores"], [one.score for one in result.top_k(2)], atol=1e-5)
