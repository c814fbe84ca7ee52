"""Several devices in one session: OpenVINO engines on a core each, against one engine alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import navit_edge as ne
from navit_edge.errors import BackendError, InvalidInputError

CORES = sorted(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="this process may run on one core only")


def some_images(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(8)
    return [random.integers(0, 256, (*random.integers(16, 64, 2), 3), np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def session(job_bundle: Path) -> ne.Session:
    with ne.Session(job_bundle, devices=[f"cpu:{core}" for core in CORES[:2]]) as opened:
        yield opened


def used(session: ne.Session) -> list[int]:
    return [device["packs"] for device in session.devices]


@two_cores
def test_two_engines_on_a_core_each_share_the_images_and_give_the_numbers_of_one(
    session: ne.Session, job_bundle: Path
) -> None:
    images = some_images(60)
    with ne.Session(job_bundle, threads=1, slots=1) as one:
        expected = one.run(images)
        alone = [one.run([image])[0] for image in images[:8]]
    for _ in range(200):  # which engine takes a pack is up to who is free
        results = session.run(images)
        for result, wanted in zip(results, expected, strict=True):
            np.testing.assert_allclose(result.logits, wanted.logits, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(result.embedding, wanted.embedding, rtol=1e-4, atol=1e-4)
        if min(used(session)) > 0:
            break
    assert min(used(session)) > 0
    assert {pack["device"] for pack in session.last_report["packs"]} <= {0, 1}
    for image, wanted in zip(images, alone, strict=False):  # the same pack gives the same bits, wherever it runs
        assert np.array_equal(session.run([image])[0].logits, wanted.logits)
    futures = [session.submit(image) for image in images]
    for future, wanted in zip(futures, expected, strict=True):
        np.testing.assert_allclose(future.result().logits, wanted.logits, rtol=1e-4, atol=1e-4)


@two_cores
def test_each_device_has_a_thread_that_is_bound_to_its_core_and_the_caller_is_not(session: ne.Session) -> None:
    session.run(some_images(4))
    wanted = {str(core) for core in CORES[:2]}
    for _ in range(2000):  # threads bind themselves when they start
        bound = set()
        for status in Path("/proc/self/task").glob("*/status"):
            bound |= {line.split()[1] for line in status.read_text().splitlines() if "Cpus_allowed_list" in line}
        if wanted <= bound:
            break
        threading.Event().wait(0.01)
    assert wanted <= bound
    assert sorted(os.sched_getaffinity(0)) == CORES
    reports = session.engine_report["devices"]
    assert [reports[f"cpu:{core}"]["threads"] for core in CORES[:2]] == [1, 1]


@two_cores
def test_devices_are_told_apart_in_metrics(session: ne.Session) -> None:
    session.run(some_images(6))
    stats = session.metrics.stats()
    assert [device["name"] for device in stats["devices"]] == [f"cpu:{core}" for core in CORES[:2]]
    assert sum(device["packs"] for device in stats["devices"]) == stats["packs"]["completed"]
    assert sum(device["images"] for device in stats["devices"]) == stats["images"]["completed"]
    assert all(device["lost"] == "" for device in session.devices)
    assert f'device="cpu:{CORES[0]}"}} 0\n' in session.metrics.prometheus()
    with pytest.raises(InvalidInputError, match="neither le, error nor device"):
        session.metrics.prometheus({"device": "mine"})


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("01", "expected a list"),
        (3, "expected a list"),
        ([1.5], "the number of a GPU or a text"),
        (["core"], "a list of cores"),
        ([-1], 'devices has "-1"'),
        (["cpu:1023"], "may run on the cores"),
        ([0, 0], "another of them"),
    ],
)
def test_what_is_no_device_is_refused(job_bundle: Path, devices: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ne.Session(job_bundle, devices=devices)  # type: ignore[arg-type]


def test_the_number_of_a_gpu_is_no_device_of_an_engine_for_cpus(job_bundle: Path) -> None:
    with pytest.raises(BackendError, match="has no engine for device 0"):
        ne.Session(job_bundle, devices=[0])
