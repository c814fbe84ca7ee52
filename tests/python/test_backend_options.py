"""Options of a backend: they arrive from Python and the command line, and wrong ones are refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.errors import InvalidInputError

KNOWN = "known: device, CPU_RUNTIME_CACHE_CAPACITY, shape_quantum"


def _image(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(rows * 100 + columns).integers(0, 256, (rows * 4, columns * 4, 3), np.uint8)


def test_the_capacity_of_the_cache_reaches_openvino_and_is_32_of_a_small_model(job_bundle: Path) -> None:
    for options, expected in (({}, 32), ({"CPU_RUNTIME_CACHE_CAPACITY": "16"}, 16)):
        with ne.Session(job_bundle, options=options) as session:
            assert session.engine_report["cache_capacity"] == expected


@pytest.mark.parametrize("quantum", [1, 8, 16, 32])
def test_packs_are_rounded_up_to_the_quantum_within_the_budget(job_bundle: Path, quantum: int) -> None:
    with ne.Session(job_bundle, options={"shape_quantum": str(quantum)}) as session:
        for rows, columns in ((1, 1), (3, 5), (4, 8), (7, 9), (15, 17)):
            session.run([_image(rows, columns)])
            (pack,) = session.last_report["packs"]
            assert pack["tokens"] == rows * columns
            assert pack["capacity"] == min(-(-rows * columns // quantum) * quantum, 1024)


def test_packs_are_rounded_up_to_multiples_of_sixteen_by_default(job_bundle: Path) -> None:
    with ne.Session(job_bundle) as session:
        session.run([_image(3, 6)])
        assert session.last_report["packs"][0]["capacity"] == 32


def test_rounding_changes_no_result_by_more_than_packing_does(job_bundle: Path) -> None:
    images = [_image(rows, columns) for rows, columns in ((1, 1), (3, 5), (4, 8), (7, 9), (2, 13))]
    with ne.Session(job_bundle, options={"shape_quantum": "1"}) as session:
        plain = [session.run([image])[0] for image in images]
        together = session.run(images)
    for quantum in ("8", "32"):
        with ne.Session(job_bundle, options={"shape_quantum": quantum}) as session:
            for results, expected in (
                ([session.run([image])[0] for image in images], plain),
                (session.run(images), together),
                (session.run(images[::-1])[::-1], together),
            ):
                for one, other in zip(results, expected, strict=True):
                    for name in ("logits", "embedding", "tokens"):
                        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"capacity": "128"}, KNOWN),
        ({"cuda_device": "0"}, KNOWN),
        ({"CPU_RUNTIME_CACHE_CAPACITY": "-1"}, "expected a whole number from 0 to 100000"),
        ({"CPU_RUNTIME_CACHE_CAPACITY": "100001"}, "expected a whole number from 0 to 100000"),
        ({"CPU_RUNTIME_CACHE_CAPACITY": "many"}, "expected a whole number from 0 to 100000"),
        ({"CPU_RUNTIME_CACHE_CAPACITY": ""}, "expected a whole number from 0 to 100000"),
        ({"CPU_RUNTIME_CACHE_CAPACITY": "1.5"}, "expected a whole number from 0 to 100000"),
        ({"shape_quantum": "0"}, "expected a whole number from 1 to 1024"),
        ({"shape_quantum": "1025"}, "expected a whole number from 1 to 1024"),
        ({"shape_quantum": "99999999999999999999"}, "expected a whole number from 1 to 1024"),
        ({"shape_quantum": "8 "}, "expected a whole number from 1 to 1024"),
        ({"device": ""}, "expected an OpenVINO device"),
    ],
)
def test_options_that_the_backend_does_not_have_are_refused(
    job_bundle: Path, options: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        ne.Session(job_bundle, options=options)
    assert str(caught.value).count("openvino-cpu") <= 1, "the engine is named once"


def test_run_takes_options_of_the_backend_and_refuses_wrong_ones(job_bundle: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(_image(3, 5)).save(tmp_path / "image.png")
    call = ["run", str(job_bundle), str(tmp_path / "image.png"), "--json", "--quiet"]
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
    good = runner.invoke(
        app, [*call, "--backend-option", "shape_quantum=32", "--backend-option", "CPU_RUNTIME_CACHE_CAPACITY=16"]
    )
    assert good.exit_code == 0, good.output
    refused = runner.invoke(app, [*call, "--backend-option", "capacity=5"])
    assert refused.exit_code == 1
    assert KNOWN in refused.output
    usage = runner.invoke(app, [*call, "--backend-option", "capacity"])
    assert usage.exit_code == 2
    assert "NAME=VALUE" in usage.output


@pytest.mark.parametrize("given", [None, "7"])
def test_the_variable_of_onednn_is_as_it_was_once_a_session_is_open(job_bundle: Path, given: str | None) -> None:
    """Set for a moment, so that the process keeps nothing; other libraries and child processes must not see it."""
    script = (
        "import ctypes, sys, navit_edge as ne; ne.Session(sys.argv[1], device='cpu').close();"
        "libc = ctypes.CDLL(None); libc.getenv.restype = ctypes.c_char_p;"
        "print(libc.getenv(b'ONEDNN_PRIMITIVE_CACHE_CAPACITY'))"
    )
    environment = {k: v for k, v in os.environ.items() if "PRIMITIVE_CACHE_CAPACITY" not in k}
    if given is not None:
        environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = given
    ran = subprocess.run(
        [sys.executable, "-c", script, str(job_bundle)], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == repr(None if given is None else given.encode())
