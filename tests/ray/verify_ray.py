"""5,000 images over four actors on three nodes, of which an actor and a node are lost in the middle (minutes)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from several_nodes import RayCluster, check_lines, ended, eventually, feed, lines_of, make_images, started

import navit_edge as ne

pytest.importorskip("ray.cluster_utils", reason="needs navit-edge[ray]")

COUNT = 5000


@pytest.fixture(scope="module")
def large() -> Iterator[RayCluster]:
    made = RayCluster(2, 1, 1)
    try:
        yield made
    finally:
        made.close()


def test_five_thousand_images_come_once_although_an_actor_and_a_node_are_lost(
    large: RayCluster, tiny_bundle: Path, tmp_path: Path
) -> None:
    paths = make_images(tmp_path / "images", COUNT)
    paths[77].write_bytes(b"no image")
    with ne.Session(tiny_bundle, engine="openvino-cpu-fp32", threads=1) as session:
        alone = session.run(paths, on_error="return")
    output = tmp_path / "out.jsonl"
    job = started(large, tiny_bundle, output, "--ray-batch", "32")
    feed(job, paths[:1500])
    eventually(job, lambda: len(lines_of(output)) > 500)
    os.kill(large.wait_for_actors(4)[-1], signal.SIGKILL)
    feed(job, paths[1500:3000])
    eventually(job, lambda: len(lines_of(output)) > 2000)
    large.wait_for_actors(4)  # another one is in its place
    large.order("remove 0")
    feed(job, paths[3000:])
    code, said = ended(job)
    assert code == 1, said
    assert f"1 of {COUNT} images failed" in said
    check_lines(lines_of(output), paths, alone)


def test_an_engine_that_no_actor_can_open_is_said_as_without_a_cluster(
    large: RayCluster, tiny_bundle: Path, tmp_path: Path
) -> None:
    (path,) = make_images(tmp_path / "images", 1)
    command = [sys.executable, "-m", "navit_edge", "run", str(tiny_bundle), str(path), "--engine", "none", "--json"]
    said = [
        subprocess.run([*command, *options], env=large.environment, capture_output=True, text=True)
        for options in ([], ["--ray", large.address, "--threads", "1"])
    ]
    assert [one.returncode for one in said] == [1, 1]
    assert said[0].stderr == said[1].stderr
