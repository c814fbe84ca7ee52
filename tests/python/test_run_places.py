"""Where `navit-edge run` and the other commands write: pipes, devices, folders, closed streams; no litter."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.text import path_of

COMMAND = [sys.executable, "-m", "navit_edge.cli.main"]
runner = CliRunner()


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, list(map(str, arguments)), env={"COLUMNS": "160", "TERM": "dumb"})


def words(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "a.png"
    path.parent.mkdir()
    Image.new("RGB", (12, 8), "teal").save(path)
    return path


def test_results_and_reports_go_into_pipes_which_stay_pipes(job_bundle: Path, image: Path, tmp_path: Path) -> None:
    outputs = {name: tmp_path / name for name in ("rows", "trace", "report")}
    found: dict[str, bytes] = {}
    readers = []
    for name, path in outputs.items():
        os.mkfifo(path)
        readers.append(threading.Thread(target=lambda n=name, p=path: found.update({n: p.read_bytes()}), daemon=True))
        readers[-1].start()
    result = invoke(
        "run", job_bundle, image, "-o", outputs["rows"], "--trace", outputs["trace"], "--report", outputs["report"]
    )
    assert result.exit_code == 0, result.output
    for reader in readers:
        reader.join(60)
    assert json.loads(found["rows"])["file"] == str(image)
    assert json.loads(found["trace"])["traceEvents"]
    assert json.loads(found["report"])["images"] == 1
    assert files(tmp_path) == ["images", "report", "rows", "trace"]
    assert all(stat.S_ISFIFO(path.stat().st_mode) for path in outputs.values())


def test_devices_are_written_to_and_never_replaced(job_bundle: Path, image: Path) -> None:
    before = os.stat("/dev/null")
    null = "/dev/null"
    for arguments in (("run", job_bundle, image, "-o", null, "--trace", null, "--report", null),
                      ("doctor", "--json-file", null),
                      ("plan", job_bundle, image, "--plot", null)):  # fmt: skip
        result = invoke(*arguments)
        assert result.exit_code in (0, 2), result.output  # 2: an option that this command does not have
    after = os.stat("/dev/null")
    assert (stat.S_ISCHR(after.st_mode), after.st_ino) == (True, before.st_ino)
    assert not os.path.exists("/dev/null.job.json")
    full = invoke("run", job_bundle, image, "-o", "/dev/full")
    assert full.exit_code == 1
    assert "error: /dev/full: No space left on device; the lines before are whole" in words(full.output)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "folder", "--format", "jsonl"), "folder is a folder; jsonl needs a file: name one in it, as folder/r"),
        (("-o", "file.parquet"), "file.parquet is a file; parquet needs a folder"),
        (("-o", "file", "--format", "numpy"), "file is a file; numpy needs a folder"),
        (("-o", "pipe", "--format", "parquet"), "pipe is a pipe; parquet needs a folder"),
        (("-o", "/dev/null", "--format", "numpy"), "/dev/null is a device; numpy needs a folder"),
        (("-o", "pipe", "--resume"), "pipe is a pipe; there is nothing to continue"),
        (("-o", "/dev/null", "--overwrite"), "/dev/null is a device; there is nothing to continue"),
        (("-o", "none/r.jsonl"), "there is no folder"),
        (("-o", "round.jsonl"), "Too many levels of symbolic links"),
        (("-o", ""), "it is empty (''); expected a path"),
        (("--trace", ""), "it is empty (''); expected a path"),
        (("--trace", "folder"), "folder is a folder; expected a file"),
        (("--report", "none/r.json"), "there is no folder"),
        (("-o", "x" * 250 + ".jsonl"), "File name too long"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_runs_and_leaves_nothing(
    job_bundle: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    Path("file.parquet").touch()
    Path("round.jsonl").symlink_to("round.jsonl")
    os.mkfifo("pipe")
    before = files(tmp_path)
    result = invoke("run", job_bundle, image, "-q", *arguments)
    assert result.exit_code in (1, 2)
    assert said in words(result.output)
    assert files(tmp_path) == before
    assert files(Path("folder")) == []


@pytest.mark.parametrize(
    ("images", "said"), [(("",), "an argument is empty ('')"), (("a.png", "-", "-"), "- is given twice")]
)
def test_wrong_image_arguments_are_wrong_usage(job_bundle: Path, images: tuple[str, ...], said: str) -> None:
    result = invoke("run", job_bundle, *images)
    assert result.exit_code == 2
    assert said in words(result.output)


@pytest.mark.parametrize("form", ["jsonl", "parquet", "numpy"])
def test_an_output_that_cannot_be_begun_leaves_nothing(
    job_bundle: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    from navit_edge.run import journal

    def full(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(journal.os, "pwrite", full)
    result = invoke("run", job_bundle, image, "-q", "-o", tmp_path / "out", "--format", form)
    assert result.exit_code == 1
    assert "No space left on device" in words(result.output)
    assert files(tmp_path) == ["images"]


def test_results_through_a_link_lie_where_it_leads_with_their_journal(
    job_bundle: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "out.jsonl"
    link.symlink_to("far/rows.jsonl")
    for _ in range(2):
        assert invoke("run", job_bundle, image, "-q", "-o", link, "--resume").exit_code == 0
    assert link.is_symlink()
    assert files(tmp_path / "far") == ["rows.jsonl", "rows.jsonl.job.json"]
    assert files(tmp_path) == ["far", "images", "out.jsonl"]


def test_standard_output_under_another_name_is_standard_output(job_bundle: Path, image: Path, tmp_path: Path) -> None:
    with (tmp_path / "rows.jsonl").open("wb") as out:
        out.write(b'{"before": true}\n')
        out.flush()
        done = subprocess.run([*COMMAND, "run", job_bundle, image, "-q", "-o", "/dev/stdout"], stdout=out, timeout=120)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert done.returncode == 0
    assert [json.loads(line).get("file") for line in lines] == [None, str(image)]
    assert files(tmp_path) == ["images", "rows.jsonl"]


@pytest.mark.parametrize("arguments", [("--json",), (), ("-o", "/dev/stdout")])
def test_a_reader_that_has_gone_ends_the_command_quietly(
    job_bundle: Path, image: Path, arguments: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "run", job_bundle, image, "-q", *arguments], stdout=writer, stderr=subprocess.PIPE, timeout=120
    )
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.parametrize(
    "arguments",
    [("run", "{bundle}", "{image}", "-q"), ("plan", "{bundle}", "{image}", "--json"), ("inspect", "{bundle}")],
)
def test_a_closed_or_full_standard_output_is_said_in_one_line(
    job_bundle: Path, image: Path, arguments: tuple[str, ...]
) -> None:
    given = [part.format(bundle=job_bundle, image=image) for part in arguments]
    script = '"$@" >&-'
    closed = subprocess.run(["sh", "-c", script, "sh", *COMMAND, *given], capture_output=True, text=True, timeout=120)
    assert closed.returncode == 1
    assert closed.stderr.splitlines()[-1].startswith("error: standard output is closed")
    script = '"$@" >/dev/full'
    full = subprocess.run(["sh", "-c", script, "sh", *COMMAND, *given], capture_output=True, text=True, timeout=120)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].startswith("error: ")
    assert "No space left on device" in full.stderr.splitlines()[-1]
    assert "bug" not in full.stderr


def test_a_file_that_holds_something_else_is_not_replaced_by_results(
    job_bundle: Path, image: Path, tmp_path: Path
) -> None:
    before = image.read_bytes()
    result = invoke("run", job_bundle, image, "-q", "-o", image, "--format", "jsonl", "--overwrite")
    assert result.exit_code == 1
    assert "holds something else than results" in words(result.output)
    assert image.read_bytes() == before
    assert files(image.parent) == ["a.png"]


def test_the_report_counts_every_image_and_every_entry(job_bundle: Path, image: Path, tmp_path: Path) -> None:
    (image.parent / "notes.txt").touch()
    (image.parent / "gone.jpg").symlink_to("nowhere")
    report = tmp_path / "report.json"
    result = invoke("run", job_bundle, image.parent, "-q", "-o", tmp_path / "rows.jsonl", "--report", report)
    assert result.exit_code == 1
    assert json.loads(report.read_text()) == {
        "images": 2, "failed": 1, "written": 2, "done_before": 0, "not_named_any_more": 0, "skipped": {".txt": 1},
        "signal": None,
        "first_error": f"{image.parent}/gone.jpg is a link that leads nowhere; repair the link, or delete it",
    }  # fmt: skip


# --- names that are bytes


@pytest.mark.parametrize("form", ["jsonl", "parquet", "numpy"])
def test_names_of_any_bytes_are_told_apart_in_every_format_and_found_again(
    job_bundle: Path, tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    names = [b"a\xff.png", b"a\xfe.png", b"a\\xff.png", b"\x1b]0;x\x07\n.png", "\u202egnp.png".encode()]
    for side, name in enumerate(names, 4):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            Image.new("RGB", (side, 4)).save(file, "PNG")
    out = tmp_path / f"out.{form}"
    for _ in range(2):
        result = invoke("run", job_bundle, folder, "-o", out, "--format", form, "--resume")
        assert result.exit_code == 0, result.output
    assert "5 done before" in result.stderr.splitlines()[-1]
    if form == "parquet":
        table = pq.read_table(out).to_pylist()
        found = {row["file"]: row["width_px"] for row in table}
    else:
        lines = (out if form == "jsonl" else out / "index.jsonl").read_bytes()
        assert not set(lines) & {0x1B, 0x07, 0x7F}
        found = {row["file"]: row["pixels"][1] for row in map(json.loads, lines.splitlines())}
    assert {os.fsencode(path_of(key)): width for key, width in found.items()} == {
        os.path.join(os.fsencode(folder), name): side for side, name in enumerate(names, 4)
    }


def test_a_bundle_whose_name_is_no_text_works_everywhere(job_bundle: Path, image: Path, tmp_path: Path) -> None:
    bundle = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.navit"))
    bundle.symlink_to(job_bundle)
    with ne.Session(bundle, threads=1) as session:
        assert session.metrics.stats()["bundle"] == "m\\xff.navit"
        assert 'bundle="m\\\\xff.navit"' in session.metrics.prometheus({"more": "\udcff"})
        session.metrics.start_trace()
        session.run([image])
        assert "m\\xff.navit" in json.dumps(session.metrics.stop_trace()).replace("\\\\", "\\")
    for arguments in (("run", bundle, image, "--json"), ("plan", bundle, image, "--json"),
                      ("inspect", bundle, "--json"), ("doctor", bundle, "--json")):  # fmt: skip
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        for line in result.stdout.splitlines() if arguments[0] == "run" else [result.stdout]:
            json.loads(line)
    missing = Path(os.fsdecode(os.fsencode(tmp_path) + b"/none\xff.navit"))
    with pytest.raises(ne.BundleError, match="none"):
        ne.Session(missing)
    with pytest.raises(ne.NavitEdgeError, match="engine"):
        ne.Session(bundle, engine="\udcff")


def test_an_engine_is_built_in_a_bundle_whose_name_is_no_text(job_bundle: Path, image: Path, tmp_path: Path) -> None:
    bundle = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.navit"))
    shutil.copytree(job_bundle, bundle)
    options = ("--backend", "openvino", "--precision", "fp32", "--token-budgets", "256")
    built = invoke("build-engine", bundle, *options, "--json")
    assert built.exit_code == 0, built.output
    assert json.loads(built.stdout)["bundle"].endswith("b\\xff.navit")
    assert invoke("run", bundle, image, "-q", "--json").exit_code == 0
