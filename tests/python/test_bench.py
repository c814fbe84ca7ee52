"""`navit-edge bench`: what it measures, and what it says of it."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_bundle import make_bundle
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bench.workload import (
    from_files,
    grid_of,
    ladder,
    ladder_images,
    mixed_sizes,
    pack_of,
    read_sizes,
    squarish,
)
from navit_edge.bundle.manifest import Budget, Engine, Manifest
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.cli.main import app
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.errors import InvalidInputError
from navit_edge.pixels import load_image

QUICK = ("--warmup", "0", "--iterations", "3", "--duration", "0")


def invoke(*arguments: object, columns: int = 160) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": str(columns), "TERM": "dumb"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_bundle(tmp_path_factory.mktemp("bench") / "tiny.navit")
    build_engines(path, BuildRequest(backend="openvino", precision=("fp32",)))
    return path


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return ne.load_manifest(bundle)


@pytest.fixture(scope="module")
def report(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """One run of the command: its JSON, its standard output, its plot."""
    folder = tmp_path_factory.mktemp("report")
    result = invoke("bench", bundle, *QUICK, "--json-file", folder / "b.json", "--plot", folder / "b.png")
    assert result.exit_code == 0, result.stderr
    return json.loads((folder / "b.json").read_text()), result.stdout, folder / "b.png"


def fixed_engine(manifest: Manifest, *budgets: tuple[int, int]) -> Engine:
    """An engine that pads to its budgets of (tokens, images), as TensorRT's do."""
    return msgspec.structs.replace(
        manifest.engines[0],
        dynamic_tokens=False,
        strategy="first-fit-decreasing",
        budgets=tuple(Budget(tokens=tokens, images=images, target_tokens=tokens) for tokens, images in budgets),
    )


# --- the ladder


@given(st.integers(1, 5000))
def test_a_grid_holds_nearly_all_tokens_and_is_no_strip(tokens: int) -> None:
    rows, cols = squarish(tokens)
    assert rows * cols <= tokens
    assert rows <= cols <= 2 * rows
    best = max(r * min(tokens // r, 2 * r) for r in range(1, math.isqrt(tokens) + 1))
    assert rows * cols == best


@given(st.integers(1, 5000), st.integers(0, 5), st.integers(1, 1024), st.integers(1, 40))
def test_a_pack_of_the_ladder_keeps_every_limit(tokens: int, prefix: int, longest: int, most_images: int) -> None:
    grids = pack_of(tokens, prefix, longest, most_images=most_images)
    assert len(grids) <= most_images
    assert sum(rows * cols + prefix for rows, cols in grids) <= tokens
    assert all(rows * cols <= longest for rows, cols in grids)
    assert bool(grids) == (tokens > prefix)


def test_every_rung_runs_as_one_pack_of_the_tokens_it_names(bundle: Path, manifest: Manifest) -> None:
    session = ne.Session(bundle)
    rungs = ladder(manifest, manifest.engines[0])
    counts = []
    for grids in rungs:
        session.run(ladder_images(manifest, grids))
        (pack,) = session.last_report["packs"]
        assert pack["tokens"] == sum(rows * cols for rows, cols in grids)
        counts.append(pack["tokens"])
    assert counts == sorted(set(counts))
    assert counts[0] == 64
    assert counts[-1] == manifest.engines[0].budgets[-1].target_tokens


def test_the_ladder_of_a_padded_engine_meets_every_budget_exactly(manifest: Manifest) -> None:
    engine = fixed_engine(manifest, (256, 8), (1024, 32), (4096, 128))
    counts = []
    for grids in ladder(manifest, engine):
        tokens = [rows * cols for rows, cols in grids]
        packs = ne.plan(tokens, token_budget=[256, 1024, 4096], max_images=128, strategy="first-fit-decreasing")
        assert len(packs) == 1
        counts.append(sum(tokens))
    assert counts == [64, 128, 256, 512, 1024, 2048, 4096]


def test_the_ladder_respects_the_limit_of_images(manifest: Manifest) -> None:
    engine = fixed_engine(manifest, (4096, 2))
    rungs = ladder(manifest, engine)
    assert max(len(grids) for grids in rungs) == 2
    assert sum(rows * cols for rows, cols in rungs[-1]) == 2 * manifest.preprocess.sizing.max_tokens


@pytest.mark.parametrize(
    "sizing",
    [
        Sizing(rule="naflex", max_tokens=100),
        Sizing(rule="fixed", height_px=16, width_px=24),
        Sizing(rule="token-cap", max_tokens=100, upscale=True),
        Sizing(rule="longest-side", longest_px=64),
    ],
    ids=lambda sizing: sizing.rule,
)
def test_the_ladder_is_of_images_that_the_sizing_rule_leaves_as_they_are(manifest: Manifest, sizing: Sizing) -> None:
    changed = with_sizing(manifest, sizing)
    rungs = ladder(changed, fixed_engine(manifest, (1024, 32)))
    assert rungs
    side = manifest.preprocess.patch_px
    for rows, cols in {grid for grids in rungs for grid in grids}:
        assert grid_of(changed, (rows * side, cols * side)) == (rows, cols)


def test_the_built_in_set_fits_an_engine_of_small_budgets(manifest: Manifest) -> None:
    engine = fixed_engine(manifest, (40, 4))
    sizes = mixed_sizes(manifest, engine)
    assert len(sizes) == 32
    side = manifest.preprocess.patch_px
    assert all(round(h / side) * round(w / side) <= 48 for h, w in sizes)
    assert sizes == mixed_sizes(manifest, engine)


def with_sizing(manifest: Manifest, sizing: Sizing) -> Manifest:
    return msgspec.structs.replace(manifest, preprocess=msgspec.structs.replace(manifest.preprocess, sizing=sizing))


def test_the_built_in_set_ends_with_what_does_not_fit_if_the_rule_scales_everything_up(manifest: Manifest) -> None:
    side = manifest.preprocess.patch_px
    changed = with_sizing(manifest, Sizing(rule="fixed", height_px=8 * side, width_px=8 * side))
    with pytest.raises(InvalidInputError, match=r"is 63 tokens.* gives an image 64 or more; rebuild with larger"):
        mixed_sizes(changed, fixed_engine(manifest, (63, 4)))
    assert len(mixed_sizes(changed, fixed_engine(manifest, (64, 4)))) == 32


# --- sets


def test_sizes_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "sizes"
    path.write_text("# height,width\n480,640\n\n 32 , 64 \n")
    assert read_sizes(path) == [(480, 640), (32, 64)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("480x640\n", "line 1: '480x640'; expected height,width in pixels"),
        ("4,4\n0,64\n", "line 2: '0,64'"),
        ("1,2,3", "line 1"),
        ("64,70000", r"\(1 to 65535\)"),
        ("# nothing\n", "has no sizes"),
    ],
)
def test_a_wrong_line_of_sizes_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sizes"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_sizes(path)


def test_sizes_too_large_to_hold_are_refused_before_they_are_made(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "sizes"
    path.write_text("60000,60000\n" * 3)
    result = invoke("bench", bundle, "--sizes", path)
    assert result.exit_code == 1
    assert "GiB; expected at most 1 GiB" in result.stderr


def test_files_that_do_not_decode_are_left_out_and_named(tmp_path: Path) -> None:
    Image.new("RGB", (20, 12)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    workload = from_files([tmp_path / "a.png", tmp_path / "b.png"], load_image)
    assert [image.shape for image in workload.images] == [(12, 20, 3)]
    assert "b.png" in workload.refused[0]
    assert workload.decode_ms is not None
    with pytest.raises(InvalidInputError, match="none of 1 files can be decoded"):
        from_files([tmp_path / "b.png"], load_image)


# --- the command


def test_the_report_says_what_ran_where_and_how(report: tuple[dict[str, Any], str, Path], manifest: Manifest) -> None:
    content, stdout, _ = report
    assert content["engine"] == manifest.engines[0].id
    assert content["device"].startswith("CPU")
    assert content["engine_report"]["library"] == "OpenVINO"
    assert content["host"]["cpu"] in stdout
    assert content["host"]["cores"] >= 1
    assert content["versions"]["navit-edge"] == ne.__version__
    assert content["versions"]["openvino"] in stdout
    assert content["options"] == {"warmup_ms": 0, "iterations": 3, "duration_s": 0, "percentiles": [50, 90, 99]}
    assert "p99 of fewer than 100 runs is the slowest of them" in stdout
    assert content["device"] in stdout


def test_every_measurement_is_consistent(report: tuple[dict[str, Any], str, Path]) -> None:
    content, _, _ = report
    assert len(content["packs"]) >= 3
    for one in [*content["packs"], content["end_to_end"]]:
        latency = one["latency_ms"]
        assert latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        assert one["runs"] == 3
        assert one["fill"] == one["tokens"] / one["capacity_tokens"]
        assert one["tokens"] <= one["capacity_tokens"]
        assert one["peak_resident_bytes"] > 10 * 2**20
        assert one["images_per_s"] == pytest.approx(one["images"] * 3 / one["measured_s"])
        assert one["engine_ms"] > one["preprocess_ms"] > 0
    for one in content["packs"]:
        assert one["capacity_tokens"] - one["tokens"] < 8  # rounded up to shapes that repeat
        total = one["preprocess_ms"] + one["engine_ms"] + one["other_ms"]
        assert total == pytest.approx(one["latency_ms"]["mean"])
        assert one["other_ms"] > 0


def test_the_plot_is_a_picture_with_the_lines_in_it(report: tuple[dict[str, Any], str, Path]) -> None:
    with Image.open(report[2]) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 1200
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(0x1F, 0x5F, 0xA8), (0x2F, 0x7D, 0x4F)} <= colours


def test_end_to_end_runs_the_images_of_the_directory(bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([(16, 24), (40, 12), (100, 90)]):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    result = invoke("bench", bundle, *QUICK, "--images", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    alone = ne.Session(bundle).run(sorted(tmp_path.glob("*.png")))
    assert content["end_to_end"]["images"] == 3
    assert content["end_to_end"]["tokens"] == sum(one.token_count for one in alone)
    assert content["decode_ms"] > 0


def test_end_to_end_runs_the_sizes_of_the_file(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "sizes").write_text("8,8\n16,32\n")
    result = invoke("bench", bundle, *QUICK, "--sizes", tmp_path / "sizes", "--percentile", "50,99.9", "--json")
    assert result.exit_code == 0, result.stderr
    whole = json.loads(result.stdout)["end_to_end"]
    assert (whole["images"], whole["tokens"]) == (2, 4 + 32)
    assert {"p50", "p99.9"} <= set(whole["latency_ms"])


def test_a_narrow_terminal_gets_three_tables_and_loses_no_figure(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setattr("navit_edge.cli.bench_output.out_console", lambda: Console(width=80, highlight=False))
    result = invoke("bench", bundle, *QUICK)
    assert result.exit_code == 0, result.stderr
    assert ": stages" in result.stdout
    assert "by the cost model, memory" in result.stdout
    assert "…" not in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", ".", "--sizes", "x"], "both --images and --sizes"),
        (["--percentile", "fast"], "percentile 'fast'; expected numbers"),
        (["--percentile", "200"], "percentiles 200"),
        (["--iterations", "0"], "iterations"),
    ],
)
def test_wrong_usage_ends_with_2(bundle: Path, options: list[str], message: str) -> None:
    result = invoke("bench", bundle, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "curve.svg"], "expected a name that ends in .png"),
        (["--plot", "nowhere/curve.png"], "there is no folder"),
        (["--json-file", "nowhere/b.json"], "there is no folder"),
        (["--images", "nowhere"], "nowhere is not a directory"),
        (["--sizes", "nowhere"], "nowhere cannot be read"),
        (["--engine", "tensorrt-sm87-fp16"], "tensorrt-sm87-fp16"),
        (["--device", "gpu"], "has no engine for device gpu"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("bench", bundle.resolve(), *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stdout == ""


def test_a_plot_without_matplotlib_names_the_remedy(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = invoke("bench", bundle, "--plot", tmp_path / "b.png")
    assert result.exit_code == 1
    assert "pip install matplotlib" in result.stderr


def test_an_image_above_the_budget_ends_the_bench_with_the_sessions_own_error(
    small_budget_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "sizes").write_text("512,512\n")
    result = invoke("bench", small_budget_bundle, *QUICK, "--precision", "fp32", "--sizes", tmp_path / "sizes")
    assert result.exit_code == 1
    assert "image 0" in result.stderr
    assert "budget" in result.stderr
