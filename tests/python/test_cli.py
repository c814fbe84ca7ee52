"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import openvino
import pytest
from PIL import Image
from tiny_bundle import TinyConfig, make_bundle
from typer.testing import CliRunner

from navit_edge import compile as build_package
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.cli.export import ModelSize
from navit_edge.cli.main import app
from navit_edge.errors import BackendError

runner = CliRunner()
COMMAND = [sys.executable, "-m", "navit_edge.cli.main"]


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160", "TERM": "dumb"})


def words(text: str) -> str:
    """Without the boxes and line breaks of a usage error."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = make_bundle(tmp_path_factory.mktemp("cli") / "tiny.navit")
    request = build_package.BuildRequest(backend="openvino", precision=("fp32",))
    build_package.build_engines(bundle, request)
    return bundle


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a.png": (16, 24), "b.png": (40, 12), "c.png": (100, 90)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


# --- in general


def test_help_lists_the_commands_and_each_has_its_own() -> None:
    text = invoke("--help").stdout
    for name in ("export", "quantize", "build-engine", "run", "inspect", "bench", "doctor"):
        assert name in text
        result = invoke(name, "--help")
        assert result.exit_code == 0
        assert "Usage: " in result.stdout
    assert 'pip install "navit-edge[export]"' in invoke("export", "--help").stdout


def test_the_version_is_shown() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("navit-edge ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["explode"],
        ["run"],
        ["export", "--model", "s17", "-o", "x.navit"],
        ["export", "--model", "s16"],
        ["export", "-o", "x.navit"],
        ["build-engine", "x.navit", "--surprise"],
        ["run", "x.navit", "a.png", "--device", "tpu"],
        ["run", "x.navit", "a.png", "--top-k", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Error" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "onnx"], "unknown backend 'onnx'; known: openvino, tensorrt-rtx, tensorrt"),
        (["--precision", "int4"], "unknown precision 'int4'; known: fp32, fp16, bf16, int8, fp8"),
        (
            ["--backend", "tensorrt-rtx", "--precision", "fp8"],
            "fp8 for sm86; it can do bf16, fp16, fp32, int8; fp8 needs sm89",
        ),
        (["--strip-plan", "--workspace", "1G"], "--workspace, --strip-plan with openvino, which has no such option"),
        (["--backend", "tensorrt", "--workspace", "much"], "workspace 'much'; expected a size such as 512"),
        (["--lowering", "packed"], "lowering packed for openvino, which has no such kernel; it can do padded, masked"),
        (
            ["--backend", "tensorrt-rtx", "--target", "sm87"],
            "unknown target 'sm87' for tensorrt-rtx; known: sm75, sm80",
        ),
        (["--backend", "tensorrt-rtx", "--target", "sm75", "--precision", "bf16"], "bf16 for sm75; it can do fp16"),
        (["--token-budgets", "256,many"], "token budgets '256,many'; expected whole numbers"),
        (["--token-budgets", "0"], "token budget 0; expected 1 to"),
        (["--max-images", "1,2"], "expected one for all or one for each"),
    ],
)
def test_a_build_that_is_asked_for_wrongly_ends_with_2_and_what_is_known(
    built: Path, options: list[str], message: str
) -> None:
    result = invoke("build-engine", built, *options)
    assert result.exit_code == 2
    assert message in words(result.stderr)


def test_a_failure_ends_with_1_and_one_paragraph(tmp_path: Path) -> None:
    for command in (["inspect"], ["build-engine"], ["run"]):
        tail = ["a.png"] if command == ["run"] else []
        done = subprocess.run(
            [*COMMAND, *command, str(tmp_path / "gone.navit"), *tail], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        assert "gone.navit" in lines[0]


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_traceback_is_shown_only_with_debug(tmp_path: Path, place: str) -> None:
    arguments = ["inspect", str(tmp_path / "gone.navit")]
    with_debug = ["--debug", *arguments] if place == "before" else [*arguments, "--debug"]
    for args, shown in ((arguments, False), (with_debug, True)):
        done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == shown
        assert "error: " in done.stderr


def test_a_bug_is_called_one(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise TypeError("unforeseen")

    monkeypatch.setattr(manifests, "load", broken)
    result = invoke("inspect", built)
    assert result.exit_code == 1
    assert "unexpected TypeError: unforeseen; this is a bug" in result.stderr


def test_an_interrupt_ends_with_130(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_package, "build_engines", interrupted)
    result = invoke("build-engine", built)
    assert result.exit_code == 130
    assert result.stderr.strip().endswith("interrupted")


def test_ctrl_c_during_a_build_ends_it_and_leaves_the_bundle_as_it_was(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "wide.navit", TinyConfig(width=384, depth=6, heads=6, patch_px=16))
    before = sorted(bundle.rglob("*"))
    budgets = ",".join(str(256 * i) for i in range(1, 17))
    command = [*COMMAND, "build-engine", str(bundle), "--backend", "tensorrt-rtx", "--token-budgets", budgets]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored where tests run with &
    )
    deadline = time.monotonic() + 60
    while not list(bundle.glob(".building-*/build.log")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert sorted(bundle.rglob("*")) == before


def test_a_reader_that_leaves_early_is_no_error(built: Path) -> None:
    command = [*COMMAND, "inspect", str(built), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""


# --- export


def test_the_sizes_of_the_command_are_those_of_the_exporter() -> None:
    from navit_edge_export.model.config import SIZES

    assert get_args(ModelSize) == tuple(SIZES)


def test_export_makes_a_bundle_from_a_size_and_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"width": 64, "depth": 1, "heads": 2, "mlp_width": 128, "num_classes": 2})
    )
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    bundle = tmp_path / "x.navit"
    options = ["--model", "ti16", "--config", tmp_path / "config.json", "--labels", tmp_path / "labels.txt"]
    sizing = ["--sizing", "token-cap:upscale=true", "--max-tokens", 64, "--lowerings", "padded, masked"]
    result = invoke("export", *options, *sizing, "--seed", 3, "-o", bundle)
    assert result.exit_code == 0, result.stderr
    assert str(bundle) in result.stdout.replace("\n", "")
    manifest = manifests.load(bundle)
    assert (manifest.model.width, manifest.model.depth, manifest.labels) == (64, 1, ("cat", "dog"))
    assert manifest.preprocess.sizing == Sizing(rule="token-cap", max_tokens=64, upscale=True)
    assert "token-cap (max_tokens 64, upscale True)" in invoke("inspect", bundle).stdout.replace("\n", " ")
    assert [graph.lowering for graph in manifest.graphs] == ["masked", "padded"]

    again = invoke("export", *options, "-o", bundle)
    assert again.exit_code == 1
    assert "exists" in again.stderr
    assert manifests.load(bundle) == manifest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "is a list; expected an object of fields"),
        ('{"size": "b16"}', "is for size 'b16' and --model says 's16'"),
        ('{"wings": 2}', "wings"),
    ],
)
def test_a_wrong_config_is_refused_with_the_reason(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    result = invoke("export", "--model", "s16", "--config", tmp_path / "config.json", "-o", tmp_path / "x.navit")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "x.navit").exists()


def test_export_without_torch_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = __import__("importlib").import_module

    def without_torch(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest)

    monkeypatch.setattr("importlib.import_module", without_torch)
    result = invoke("export", "--model", "s16", "-o", tmp_path / "x.navit")
    assert result.exit_code == 1
    assert (
        "export needs the package 'torch', which is not installed: pip install \"navit-edge[export]\"" in result.stderr
    )


# --- build-engine


def test_build_engine_needs_no_options(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    result = invoke("build-engine", bundle)
    assert result.exit_code == 0, result.stderr
    for engine in manifests.load(bundle).engines:
        assert engine.id in result.stdout
    assert "openvino-cpu-fp32" in result.stdout
    assert "16384 × 1024" in result.stdout


def test_build_engine_takes_lists(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    options = ["--token-budgets", "256, 64", "--max-images", "8,2", "--precision", "fp16,BF16", "--target", "sm86,sm89"]
    result = invoke("build-engine", bundle, "--backend", "tensorrt-rtx", *options)
    assert result.exit_code == 0, result.stderr
    engines = manifests.load(bundle).engines
    assert [engine.id for engine in engines] == ["tensorrt-rtx-sm86+sm89-fp16", "tensorrt-rtx-sm86+sm89-bf16"]
    assert [(budget.tokens, budget.images) for budget in engines[0].budgets] == [(64, 2), (256, 8)]
    assert "64 × 2, " in result.stdout


def test_a_dry_run_shows_what_would_be_built_and_builds_nothing(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    before = sorted(bundle.rglob("*"))
    options = ["--backend", "tensorrt-rtx", "--target", "sm75,sm89", "--token-budgets", "64,256", "--workspace", "1G"]
    text = invoke("build-engine", bundle, *options, "--dry-run")
    assert text.exit_code == 0, text.stderr
    for shown in (
        "tensorrt-rtx-sm89-bf16 (to be built)",
        "tensorrt-rtx-sm75-fp16 (to be built)",
        "256 × 48",
        "nodes in bf16",
        "auto: the bundle has no packed graph",
        "--workspace 1073741824B",
        "nothing was built",
    ):
        assert shown in text.stdout
    assert sorted(bundle.rglob("*")) == before

    result = invoke("build-engine", bundle, *options, "--dry-run", "--json")
    content = json.loads(result.stdout)
    assert content["dry_run"] is True
    ada, turing = content["engines"]
    assert [profile["tokens"] for profile in ada["profiles"]] == [64, 256]
    assert ada["profiles"][1]["shapes"]["patches"] == {kind: [256, 48] for kind in ("min", "opt", "max")}
    assert ada["operators"]["Softmax"] == {"fp32": 2}
    assert "bf16" in ada["operators"]["MatMul"]
    assert "bf16" not in str(turing["operators"])
    assert len(ada["precision_map"]) == sum(sum(counts.values()) for counts in ada["operators"].values())
    assert ada["key"] != turing["key"]
    assert not ada["already_built"]
    assert sorted(bundle.rglob("*")) == before


def test_what_was_built_is_printed_as_json_with_the_key_that_the_dry_run_gave(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    options = ["--backend", "tensorrt-rtx", "--target", "sm89", "--token-budgets", "512,4096", "--json"]
    (planned,) = json.loads(invoke("build-engine", bundle, *options, "--dry-run").stdout)["engines"]
    result = invoke("build-engine", bundle, *options)
    assert result.exit_code == 0, result.stderr
    (engine,) = json.loads(result.stdout)["engines"]
    assert engine["id"] == planned["id"] == "tensorrt-rtx-sm89-bf16"
    assert engine["key"] == planned["key"]
    assert engine["fused"] is True
    assert engine["bytes"] == (bundle / engine["file"]).stat().st_size
    assert [budget["tokens"] for budget in engine["budgets"]] == [512, 4096]
    (again,) = json.loads(invoke("build-engine", bundle, *options, "--dry-run").stdout)["engines"]
    assert again["already_built"] is True


def test_a_dry_run_shows_openvino_too(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    result = invoke("build-engine", bundle, "--precision", "fp32", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "openvino-cpu-fp32 (to be built)" in result.stdout
    assert "attention_index" in result.stdout


def test_a_build_that_fails_ends_with_1(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise BackendError("the compiler refuses\n  this graph")

    monkeypatch.setattr(build_package, "build_engines", failing)
    result = invoke("build-engine", built)
    assert result.exit_code == 1
    assert result.stderr.strip().splitlines()[-1] == "error: the compiler refuses this graph"


# --- run


def run_json(*arguments: object) -> tuple[list[dict[str, Any]], Any]:
    result = invoke("run", *arguments, "--json")
    return [json.loads(line) for line in result.stdout.splitlines()], result


def test_run_prints_one_json_object_an_image_in_order(built: Path, images: Path) -> None:
    files = [images / name for name in ("c.png", "a.png", "b.png")]
    records, result = run_json(built, *files, "--top-k", "2")
    assert result.exit_code == 0, result.stderr
    assert [record["file"] for record in records] == [str(file) for file in files]
    assert [record["pixels"] for record in records] == [[100, 90], [16, 24], [40, 12]]
    assert [record["grid"] for record in records[1:]] == [[4, 6], [10, 3]]
    for record in records:
        assert list(record) == ["file", "pixels", "grid", "tokens", "scale", "pack", "latency_ms", "top_k"]
        assert record["tokens"] == record["grid"][0] * record["grid"][1] <= 256
        assert len(record["top_k"]) == 2
    assert "engine openvino-cpu-fp32 on " in result.stderr


def test_run_prints_the_logits_of_the_engine_and_their_softmax(built: Path, images: Path) -> None:
    """Against OpenVINO itself on an image whose sides are multiples of the patch, so that nothing is resized."""
    (record,), _ = run_json(built, images / "a.png", "--top-k", "5")
    from tiny_bundle import pack_inputs

    inputs = pack_inputs([(4, 6)], padded=True)
    pixels = np.asarray(Image.open(images / "a.png"))
    inputs["patches"] = pixels.reshape(4, 4, 6, 4, 3).transpose(0, 2, 1, 3, 4).reshape(24, 48)
    engine = manifests.load(built).engines[0]
    compiled = openvino.Core().import_model((built / engine.file).read_bytes(), "CPU", dict(engine.options))
    logits = compiled(inputs)["logits"][0].astype(np.float64)
    scores = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-logits)
    assert [item["label"] for item in record["top_k"]] == [f"class {i}" for i in order]
    np.testing.assert_allclose([item["logit"] for item in record["top_k"]], logits[order], atol=1e-5)
    np.testing.assert_allclose([item["score"] for item in record["top_k"]], scores[order], atol=1e-5)


def test_run_takes_a_directory_and_prints_a_table(built: Path, images: Path) -> None:
    result = invoke("run", built, images)
    assert result.exit_code == 0, result.stderr
    for text in ("a.png", "b.png", "c.png", "16 × 24", "4 × 6", "class "):
        assert text in result.stdout
    assert "notes.txt" not in result.stdout


def test_an_image_that_cannot_be_run_is_reported_and_the_others_complete(built: Path, images: Path) -> None:
    records, result = run_json(built, images / "a.png", images / "notes.txt", images / "gone.png", images / "b.png")
    assert result.exit_code == 1
    assert ["error" in record for record in records] == [False, True, True, False]
    assert "no such file" in records[2]["error"]
    assert "error: 2 of 4 images failed: " in result.stderr
    table = invoke("run", built, images / "a.png", images / "gone.png")
    assert table.exit_code == 1
    assert "no such file" in words(table.stdout)


def test_a_directory_without_images_is_refused(built: Path, tmp_path: Path) -> None:
    result = invoke("run", built, tmp_path)
    assert result.exit_code == 1
    assert "holds no images" in result.stderr


def test_an_engine_that_is_not_there_is_refused_with_those_that_are(built: Path, images: Path) -> None:
    result = invoke("run", built, images / "a.png", "--engine", "openvino-cpu-fp8")
    assert result.exit_code == 1
    assert "openvino-cpu-fp32" in result.stderr


def test_an_engine_that_is_passed_over_is_said(tmp_path: Path, images: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    for backend, precision in (("tensorrt-rtx", "fp16"), ("openvino", "fp32")):
        request = build_package.BuildRequest(backend=backend, precision=(precision,), token_budgets=(256,))
        build_package.build_engines(bundle, request)
    _, result = run_json(bundle, images / "a.png")
    assert result.exit_code == 0, result.stderr
    assert "passed over tensorrt-rtx-sm86+sm89+sm120-fp16: " in result.stderr
    assert "engine openvino-cpu-fp32 on " in result.stderr


# --- inspect


def test_inspect_shows_everything_as_json(built: Path) -> None:
    result = invoke("inspect", built, "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    manifest = manifests.load(built)
    (engine,) = content["engines"]
    assert engine["id"] == "openvino-cpu-fp32"
    assert engine["bytes"] == (built / engine["file"]).stat().st_size
    assert engine["budgets"][0]["tokens"] == 16384
    assert engine["budgets"][0]["images"] == 1024
    assert content["model"]["width"] == manifest.model.width
    assert {name: file["state"] for name, file in content["files"].items()} == dict.fromkeys(manifest.files, "present")
    assert set(json.loads(invoke("inspect", built, "--json", "--verify").stdout)["files"]["graphs/weights.bin"]) == {
        "sha256",
        "bytes",
        "state",
    }


def test_a_budget_of_a_tensorrt_engine_says_its_memory(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    request = build_package.BuildRequest(backend="tensorrt-rtx", token_budgets=(64, 256))
    build_package.build_engines(bundle, request)
    (engine,) = json.loads(invoke("inspect", bundle, "--json").stdout)["engines"]
    assert [(budget["tokens"], budget["images"]) for budget in engine["budgets"]] == [(64, 2), (256, 8)]
    assert all(budget["activation_bytes"] > 0 for budget in engine["budgets"])
    assert "256 × 8, " in invoke("inspect", bundle).stdout


def test_inspect_shows_the_same_in_words(built: Path) -> None:
    text = invoke("inspect", built).stdout
    for expected in (
        "width 64",
        "token-cap (max_tokens 256)",
        "masked",
        "openvino-cpu-fp32",
        "weights.bin",
        "[T, 48]",
    ):
        assert expected in text


def test_a_bundle_without_engines_is_told_the_next_step(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    assert "no engines; build one: navit-edge build-engine" in invoke("inspect", bundle).stdout


def test_inspect_finds_a_missing_file_always_and_an_altered_one_on_request(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    with (bundle / "graphs" / "weights.bin").open("r+b") as file:
        file.write(b"\x01\x02")
    assert invoke("inspect", bundle).exit_code == 0
    verified = invoke("inspect", bundle, "--verify", "--json")
    assert verified.exit_code == 1
    assert "weights.bin was altered" in json.loads(verified.stdout)["files"]["graphs/weights.bin"]["state"]
    (bundle / "graphs" / "weights.bin").unlink()
    missing = invoke("inspect", bundle)
    assert missing.exit_code == 1
    assert "weights.bin is missing" in missing.stderr
    assert "missing or altered" in missing.stdout
