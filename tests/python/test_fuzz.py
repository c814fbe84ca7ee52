"""The fuzz targets, for a short count; `make fuzz` runs them longer."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

needs_atheris = pytest.mark.skipif(platform.machine() != "x86_64", reason="atheris has wheels for x86-64 alone")


def fuzz(repository: Path, tmp_path: Path, *, before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the target in a process of its own, after ``before``."""
    code = f"import sys; sys.path.insert(0, {str(repository / 'tests' / 'fuzz')!r}); import fuzz_preprocess as target; "
    command = [sys.executable, "-c", f"{code}{before}target.main()", "-runs=2000", "-seed=1"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)


@needs_atheris
def test_random_images_give_what_the_reference_gives_or_a_clear_error(repository: Path, tmp_path: Path) -> None:
    done = fuzz(repository, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = re.search(r"Done (\d+) runs", done.stderr)  # libFuzzer may do some more than it was asked for
    assert runs is not None, done.stderr[-3000:]
    assert int(runs[1]) >= 2000
    assert "500 cases ran to their end" in done.stderr  # not all of them refused


@needs_atheris
@pytest.mark.parametrize(
    ("before", "finding"),
    [
        ("resize = target.preprocess.resize; "
         "target.preprocess.resize = lambda image, *size, resample: resize(image, *size, resample=resample) ^ 1; ",
         "AssertionError"),
        ("target.ne.to_rgb = lambda image, alpha: 1 / 0; ", "ZeroDivisionError"),
    ],
    ids=["one bit of a resize", "another exception"],
)  # fmt: skip
def test_a_planted_fault_is_found(repository: Path, tmp_path: Path, before: str, finding: str) -> None:
    done = fuzz(repository, tmp_path, before=before)
    assert done.returncode != 0
    assert finding in done.stdout + done.stderr


def fuzz_files(
    repository: Path, bundle: Path, tmp_path: Path, count: int, *, before: str = ""
) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(repository / 'tests' / 'fuzz')!r}); import fuzz_files as target; "
    command = [sys.executable, "-c", f"{code}{before}target.main()", str(bundle), "--count", str(count)]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)


def test_mutated_files_give_a_result_or_an_error_of_their_own(
    repository: Path, job_bundle: Path, tmp_path: Path
) -> None:
    done = fuzz_files(repository, job_bundle, tmp_path, 2000)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2000 files" in done.stdout


def test_a_decoder_that_raises_what_is_not_translated_is_found(
    repository: Path, job_bundle: Path, tmp_path: Path
) -> None:
    planted = "target.ne.InvalidInputError = KeyError; "
    done = fuzz_files(repository, job_bundle, tmp_path, 64, before=planted)
    assert done.returncode != 0
    assert "a finding in files" in done.stderr
    assert list(tmp_path.glob("finding-*"))
