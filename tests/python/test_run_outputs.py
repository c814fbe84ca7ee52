"""What `navit-edge run` writes: JSON lines, Parquet and NumPy against the session itself."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import words
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bundle.identity import model_hash
from navit_edge.cli.main import app
from navit_edge.errors import InvalidInputError
from navit_edge.run.journal import Journal, fingerprint
from navit_edge.run.sinks.arrays import HEADER_BYTES, npy_header

COMMAND = [sys.executable, "-m", "navit_edge.cli.main", "run"]
#: Larger images than the budget of 1024 tokens are impossible here: the bundle scales down to 256 patches.
BAD = "bad.jpg"
runner = CliRunner()


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, ["run", *map(str, arguments)], env={"COLUMNS": "160", "TERM": "dumb"})


@pytest.fixture(scope="module")
def expected(job_bundle: Path, folder: Path) -> list[tuple[str, ne.Result]]:
    """By file, in order, each image alone; the results of a session of its own."""
    with ne.Session(job_bundle) as session:
        files = sorted(folder.iterdir())
        return [(str(file), session.run([file], on_error="return")[0]) for file in files]


def arrays_of(kind: str, output: Path) -> list[dict[str, Any]]:
    """Rows as readers that nobody here wrote see them: json, pyarrow, numpy. Arrays as numpy has them, or None."""
    if kind == "jsonl":
        rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            for name in ("logits", "embedding", "token_features"):
                row[name] = np.array(row[name], np.float32) if name in row else None
        return rows
    if kind == "parquet":
        rows = pq.read_table(output).to_pylist()
        for row in rows:
            for name in ("logits", "embedding", "token_features"):
                row[name] = None if row[name] is None else np.array(row[name], np.float32)
            if row["error"] is None:
                row["grid"] = [row["grid_rows"], row["grid_cols"]]
                row["pixels"] = [row["height_px"], row["width_px"]]
                row["scale"] = [row["scale_y"], row["scale_x"]]
        return [{key: value for key, value in row.items() if key != "error" or value is not None} for row in rows]
    rows = [json.loads(line) for line in (output / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    logits, embedding, tokens, offsets = (
        np.load(output / f"{name}.npy", mmap_mode="r")
        for name in ("logits", "embedding", "token_features", "token_offsets")
    )
    assert len(logits) == len(embedding) == len(offsets) - 1 == len(rows)
    assert (logits.dtype, embedding.dtype, tokens.dtype, offsets.dtype) == (
        np.float32,
        np.float32,
        np.float32,
        np.int64,
    )
    assert offsets[0] == 0
    assert offsets[-1] == len(tokens)
    for place, row in enumerate(rows):
        failed = "error" in row
        assert np.isnan(embedding[place]).all() == failed
        row["logits"] = None if failed else logits[place]
        row["embedding"] = None if failed else embedding[place]
        row["token_features"] = None if failed else tokens[offsets[place] : offsets[place + 1]]
    return rows


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numpy"])
def test_every_format_holds_what_the_session_gives(
    kind: str, job_bundle: Path, folder: Path, expected: list[tuple[str, ne.Result]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = ["--format", kind, "--save", "logits,embedding,tokens", "--part-rows", 4, "--top-k", 2, "-q"]
    result = invoke(job_bundle, folder, "-o", output, *options)
    assert result.exit_code == 1
    assert words(result.stderr).startswith(f"error: 1 of 10 images failed: {folder}/{BAD}")
    rows = arrays_of(kind, output)
    assert [row["file"] for row in rows] == [name for name, _ in expected]
    for row, (_, alone) in zip(rows, expected, strict=True):
        if alone.error is not None:
            assert row["error"] == str(alone.error)
            assert row["error_type"] == "InvalidInputError"
            assert row["embedding"] is row["logits"] is row["token_features"] is None
            continue
        assert "error" not in row
        assert tuple(row["pixels"]) == alone.pixels
        assert tuple(row["grid"]) == alone.grid
        assert row["tokens"] == alone.token_count == len(row["token_features"])
        np.testing.assert_allclose(row["scale"], alone.scale, atol=1e-6)
        assert row["latency_ms"] > 0
        assert alone.logits is not None
        assert alone.embedding is not None
        assert alone.tokens is not None
        np.testing.assert_allclose(row["logits"], alone.logits, atol=1e-5)
        np.testing.assert_allclose(row["embedding"], alone.embedding, atol=1e-5)
        np.testing.assert_allclose(row["token_features"], alone.tokens, atol=1e-5)
        best = [f"class {place}" for place in np.argsort(-alone.logits)[:2]]
        assert [item["label"] for item in row["top_k"]] == best


def test_numbers_in_json_read_back_as_the_same_float32(job_bundle: Path, folder: Path, tmp_path: Path) -> None:
    """The two formats that are written in one run each, of packs that are the same: a.png alone."""
    for kind in ("jsonl", "numpy"):
        options = ["--format", kind, "--save", "embedding", "-q", "-o", tmp_path / kind]
        assert invoke(job_bundle, folder / "a.png", *options).exit_code == 0
    (line,) = (tmp_path / "jsonl").read_text(encoding="utf-8").splitlines()
    read = np.array(json.loads(line)["embedding"], np.float32)
    np.testing.assert_array_equal(read, np.load(tmp_path / "numpy" / "embedding.npy")[0])


def test_parquet_is_parts_of_a_fixed_schema_that_readers_take_as_one_table(
    job_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.parquet"
    invoke(job_bundle, folder, "-o", output, "--part-rows", 4, "-q")
    assert sorted(path.name for path in output.iterdir()) == [
        "_job.json", "part-000000.parquet", "part-000001.parquet", "part-000002.parquet"
    ]  # fmt: skip
    schemas = [pq.read_schema(path) for path in sorted(output.glob("*.parquet"))]
    assert all(schema.equals(schemas[0]) for schema in schemas)
    assert str(schemas[0].field("embedding").type) == "fixed_size_list<element: float>[64]"
    assert "logits" not in schemas[0].names  # --save says what is kept: without it the embedding


def test_a_npy_header_is_numpys_own_and_of_one_length(tmp_path: Path) -> None:
    for dtype, shape in (("<f4", (10**9, 1024)), ("<f4", (0, 64)), ("<i8", (3,))):
        header = npy_header(dtype, shape)
        assert len(header) == HEADER_BYTES
        buffer = io.BytesIO(header)
        assert np.lib.format.read_magic(buffer) == (1, 0)
        assert np.lib.format.read_array_header_1_0(buffer) == (shape, False, np.dtype(dtype))
        assert buffer.tell() == HEADER_BYTES


# --- what may be written where


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numpy"])
def test_results_are_neither_mixed_nor_overwritten_unless_that_is_asked_for(
    kind: str, job_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = ["--format", kind, "-o", output, "-q"]
    assert invoke(job_bundle, folder / "a.png", *options).exit_code == 0
    again = invoke(job_bundle, folder / "c.png", *options)
    assert again.exit_code == 1
    assert "holds results already; --resume continues it, --overwrite replaces it" in words(again.stderr)

    other = invoke(job_bundle, folder / "c.png", *options, "--resume", "--top-k", 1, "--save", "logits")
    assert other.exit_code == 1
    before = "none" if kind == "jsonl" else "embedding"
    assert f"save was {before if before != 'none' else chr(34) * 2} and is logits; top_k was 3 and is 1" in words(
        other.stderr
    )

    assert invoke(job_bundle, folder / "a.png", folder / "c.png", *options, "--resume").exit_code == 0
    read = {"jsonl": output, "numpy": output / "index.jsonl"}
    if kind != "parquet":
        assert [json.loads(line)["file"][-5:] for line in read[kind].read_text().splitlines()] == ["a.png", "c.png"]
    assert invoke(job_bundle, folder / "d.png", *options, "--overwrite").exit_code == 0
    if kind == "parquet":
        assert [name[-5:] for name in pq.read_table(output).column("file").to_pylist()] == ["d.png"]
    else:
        assert [json.loads(line)["file"][-5:] for line in read[kind].read_text().splitlines()] == ["d.png"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numpy"])
def test_what_nobody_here_wrote_is_left_alone(kind: str, job_bundle: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    if kind == "jsonl":
        output.write_text("my notes\n")
    else:
        output.mkdir()
        (output / "notes.txt").write_text("my notes\n")
    for extra in ([], ["--resume"]):
        result = invoke(job_bundle, folder / "a.png", "--format", kind, "-o", output, *extra)
        assert result.exit_code == 1
        assert "Traceback" not in result.stderr
    assert (output if kind == "jsonl" else output / "notes.txt").read_text() == "my notes\n"
    assert len(list(tmp_path.rglob("*.*"))) == (kind != "jsonl")  # no journal is left beside it


def test_two_jobs_cannot_write_one_output(job_bundle: Path, folder: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out.jsonl.job.json", tmp_path / "out.jsonl")
    result = invoke(job_bundle, folder / "a.png", "-o", tmp_path / "out.jsonl", "--resume")
    assert result.exit_code == 1
    assert "is being written by another job" in words(result.stderr)
    journal.close()
    assert invoke(job_bundle, folder / "a.png", "-o", tmp_path / "out.jsonl", "--resume").exit_code == 0


def with_config(bundle: Path, place: Path, config: dict[str, Any]) -> Path:
    path = Path(shutil.copytree(bundle, place))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["model"]["config"] = config
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_the_order_of_the_fields_of_a_config_does_not_make_another_job_and_their_values_do(
    job_bundle: Path, tmp_path: Path
) -> None:
    config = {"width": 64, "inner": {"a": 1, "b": [2, 1]}}
    begun = with_config(job_bundle, tmp_path / "begun.navit", config)
    exported_again = with_config(
        job_bundle, tmp_path / "again.navit", {"inner": {"b": [2, 1], "a": 1}, "width": config["width"]}
    )
    another = with_config(job_bundle, tmp_path / "another.navit", {**config, "inner": {"a": 1, "b": [1, 2]}})
    journal = Journal(tmp_path / "out.jsonl.job.json", tmp_path / "out.jsonl")
    journal.write(fingerprint(begun, top_k=5))
    assert journal.require_same(fingerprint(exported_again, top_k=5))
    with pytest.raises(InvalidInputError, match="begun by another job: model was"):
        journal.require_same(fingerprint(another, top_k=5))
    journal.write({"model": model_hash(begun, as_written=True), "top_k": 5})  # as versions up to 0.1 did
    assert journal.require_same(fingerprint(begun, top_k=5))
    with pytest.raises(InvalidInputError, match="begun by another job: model was"):
        journal.require_same(fingerprint(another, top_k=5))
    journal.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out"], "ends in none of .jsonl, .ndjson, .parquet; give --format"),
        (["--format", "parquet"], "parquet needs a folder: --output PATH"),
        (["--format", "table", "-o", "out.txt"], "a table goes to the terminal"),
        (["--resume"], "without --output there is nothing to continue"),
        (["-o", "out.jsonl", "--resume", "--overwrite"], "both are given"),
        (["--every", "2", "--fps", "3"], "both are given"),
        (["--json", "--format", "numpy"], "--json with --format numpy"),
        (
            ["--json", "--save", "vectors"],
            "'vectors'; expected any of logits, embedding, tokens, projected, deepstack, attention_map, ",
        ),
        (["--save", "logits"], "a table has no room for it"),
        (["--policy", "faster"], "faster"),
    ],
)
def test_options_that_do_not_go_together_end_with_2(
    job_bundle: Path, folder: Path, options: list[str], message: str
) -> None:
    result = invoke(job_bundle, folder / "a.png", *options)
    assert result.exit_code == 2
    assert message in words(result.stderr)


def test_what_the_bundle_does_not_give_cannot_be_saved(tmp_path: Path) -> None:
    from tiny_bundle import make_bundle

    from navit_edge.run.rows import layout_of

    bundle = make_bundle(tmp_path / "tiny.navit")
    assert layout_of(bundle, labels=[], top_k=1, save=["tokens"]).shapes == {"token_features": (64,)}
    with pytest.raises(
        InvalidInputError, match=r"--save has attention, and tiny\.navit gives logits, embedding, tokens"
    ):
        layout_of(bundle, labels=[], top_k=1, save=["attention"])


def test_parquet_without_pyarrow_says_how_to_get_it(
    job_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = invoke(job_bundle, folder / "a.png", "-o", tmp_path / "out.parquet")
    assert result.exit_code == 1
    assert (
        "writing Parquet needs the package 'pyarrow', which is not installed: pip install \"navit-edge[run]\""
        in words(result.stderr)
    )
    assert not (tmp_path / "out.parquet").exists()


# --- disks that are full


def test_a_device_that_takes_no_more_is_an_error_and_not_a_traceback(job_bundle: Path, folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, str(job_bundle), str(folder / "a.png"), "--json", "-q"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("error: standard output: No space left on device")
    assert b"Traceback" not in done.stderr


def test_a_policy_chooses_the_tokens_and_says_why(job_bundle: Path, folder: Path, tmp_path: Path) -> None:
    options = ["--format", "jsonl", "-q", "-o", tmp_path / "out.jsonl"]
    invoke(job_bundle, folder, *options, "--policy", "token-cap:40")
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert "error" in row or row["tokens"] <= 40
        if "error" not in row:
            full = int(np.ceil(row["pixels"][0] / 4) * np.ceil(row["pixels"][1] / 4))
            assert ("reason" in row) == (full > 40)
    other = invoke(job_bundle, folder, *options, "--policy", "fast", "--resume")
    assert "policy was token-cap:40 and is fast" in words(other.stderr)


def test_a_trace_tells_of_every_image_and_pack(job_bundle: Path, folder: Path, tmp_path: Path) -> None:
    result = invoke(job_bundle, folder, "--json", "--trace", tmp_path / "t.json")
    packs = {json.loads(line).get("pack") for line in result.stdout.splitlines()} - {None}
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    runs = [event for event in events if event.get("name") == "engine" and event["ph"] == "X"]
    assert len(runs) == len(packs)
    # On a CPU T follows the pack, rounded up to multiples of 16.
    assert re.search(r"fill (9\d|100)%", words(result.stderr))
    assert invoke(job_bundle, folder, "--trace", tmp_path / "no" / "t.json").exit_code == 2


def test_an_output_in_a_folder_that_is_not_there_is_refused_at_once(
    job_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    for output in (tmp_path / "no" / "out.jsonl", tmp_path / "no" / "out.parquet"):
        result = invoke(job_bundle, folder / "a.png", "-o", output)
        assert result.exit_code == 1
        assert "there is no folder" in words(result.stderr)
