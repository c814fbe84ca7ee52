"""A bundle that merges tokens inside, through every command, and through a session in every way that runs images."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
import pytest
from parity import TOLERANCE, perturb
from PIL import Image
from test_every_family import SIZES, call
from tiny_checkpoints import save_tiny
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bench import calibration
from navit_edge.cli.main import app
from navit_edge.errors import InvalidInputError
from navit_edge.verify.layers import Subject, worst_layer
from navit_edge_export.model import NaViT, NaViTConfig, save_checkpoint

Pixels = npt.NDArray[np.uint8]


def _save_navit(folder: Path) -> Path:
    model = perturb(NaViT(NaViTConfig(width=32, depth=2, heads=2, patch_px=8, num_classes=5)))
    folder.mkdir()
    save_checkpoint(model, folder / "model.safetensors")
    return folder / "model.safetensors"


#: What is saved, and how it merges: without prefix tokens and with them, each of the methods.
CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "navit": (_save_navit, "0:0.4"),
    "dinov2": (lambda folder: save_tiny("dinov2", folder), "0:0.5:tome"),
}
WHOLE = "NAVIT_EDGE_TESTS_WHOLE" in os.environ  # make verify-families
TRIED = tuple(CASES) if WHOLE else ("navit",)
#: {b}: the bundle, {i}: images in a folder for each class, {t}: others, {o}: a new file or folder.
COMMANDS = (
    "inspect {b} --verify",
    "plan {b} {i}/a",
    "plan-budgets {b} {i}/a",
    "run {b} {i} --recursive --save embedding,tokens --format numpy -o {o}",
    "run {b} {i} --recursive --policy cascade:8,0.99 --html {o}.html --json",
    "bench {b} --engine openvino-cpu-int8 --calibrate",
    "bench {b} --engine openvino-cpu-fp32 --token-budgets 64 --warmup 0 --duration 0.01 --iterations 1",
    "evaluate {b} {i} --head knn --train {t} --recall none --timed-images 0",
    "report {b} -o {o}.html",
    "export-triton {b} -o {o}",
)
#: Starts a process for each trial.
TUNE = "tune {b} --images {i} --engine openvino-cpu-fp32 --timed-images 2 --threads 1 --slots 1 --tokens 16 -o {o}.json"


def _draw(folder: Path, seed: int) -> Path:
    """Images of two classes."""
    rng = np.random.default_rng(seed)
    for number, (height, width) in enumerate(SIZES):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return folder


@dataclass(frozen=True)
class Made:
    """A bundle with engines of float32 and int8, what the commands of COMMANDS take, and images."""

    words: dict[str, Path]
    images: list[Pixels]

    @property
    def bundle(self) -> Path:
        return self.words["b"]

    def session(self) -> ne.Session:
        return ne.Session(self.bundle, engine="openvino-cpu-fp32", threads=1)


@pytest.fixture(scope="module", params=TRIED)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("merging")
    save, merge = CASES[request.param]
    bundle, images = root / f"{request.param}.navit", _draw(root / "images", 0)
    options = ("--outputs", "logits,embedding,tokens", "--max-tokens", 256)
    call("export", "--checkpoint", save(root / "checkpoint"), "-o", bundle, "--merge", merge, *options)
    call("quantize", bundle, "--calibration", images)
    call("build-engine", bundle, "--backend", "openvino", "--precision", "fp32,int8", "--token-budgets", "320")
    files = sorted(images.rglob("*.png"))
    return Made(
        words={"b": bundle, "i": images, "t": _draw(root / "train", 1)},
        images=[np.asarray(Image.open(file)) for file in files],
    )


def test_every_command_takes_the_bundle(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SECONDS", 0.0)
    assert [engine.precision for engine in ne.load_manifest(made.bundle).engines] == ["fp32", "int8"]
    for number, command in enumerate((*COMMANDS, TUNE) if WHOLE else COMMANDS):
        paths = {**made.words, "o": tmp_path / str(number)}
        call(*(word.format_map(paths) for word in command.split()))


def test_attention_of_the_padded_graph_is_fused_behind_the_merge(made: Made) -> None:
    """As OpenVINO runs it: no softmax stands alone, and no products of more than a matrix but those of the merge."""
    compiled = openvino.Core().compile_model(made.bundle / "graphs" / "padded.onnx", "CPU")
    nodes = [(node.get_rt_info()["layerType"].value, node) for node in compiled.get_runtime_model().get_ops()]
    kinds = {kind for kind, _ in nodes}
    assert "FullyConnected" in kinds
    assert "Softmax" not in kinds
    products = [node for kind, node in nodes if kind == "MatMul" and len(node.get_output_partial_shape(0)) > 2]
    assert len(products) == 2  # similarities, sums


def test_the_certificate_holds(made: Made) -> None:
    """Of int8 not how near it is to float32: of rows that are nearly as similar it may merge others."""
    certificate = json.loads(CliRunner().invoke(app, ["verify", str(made.bundle), "--json"]).stdout)
    assert [engine["precision"] for engine in certificate["engines"]] == ["fp32", "int8"]
    for engine in certificate["engines"]:
        checks = {check["name"]: check for check in engine["checks"]}
        assert checks["packed as alone"]["holds"]
        assert checks["one image changed, the others bit-equal"]["found"] == "bit-equal"
        assert engine["precision"] != "fp32" or all(check["holds"] for check in checks.values())


def test_the_search_for_the_worst_layer_looks_in_front_of_the_first_quantized_one(made: Made) -> None:
    manifest = ne.load_manifest(made.bundle)
    engine = next(one for one in manifest.engines if one.precision == "int8")
    subject = Subject(bundle=made.bundle, sources=made.bundle, manifest=manifest, images=made.images[:1])
    with made.session() as session:
        grid = session.run(subject.images)[0].grid
    worst = worst_layer(subject, engine, [grid], -1.0, lambda words: None)  # nothing is within such a limit
    assert worst is not None
    assert worst.after == "patches"
    assert np.isfinite(worst.relative)


def _outputs(result: ne.Result) -> dict[str, npt.NDArray[np.float32]]:
    return {name: np.asarray(getattr(result, name)) for name in ("logits", "embedding", "tokens")}


def test_every_way_to_run_gives_what_an_image_alone_gives(made: Made) -> None:
    with made.session() as session:
        alone = [_outputs(session.run([image])[0]) for image in made.images]
        ways = {
            "run": session.run(made.images),
            "stream": list(session.stream(made.images)),
            "submit": [future.result() for future in [session.submit(image) for image in made.images]],
        }
    assert len({result.pack for result in ways["run"]}) < len(made.images)
    for way, results in ways.items():
        assert len(results) == len(made.images)
        for result, expected in zip(results, alone, strict=True):
            rows, columns = result.grid
            assert len(expected["tokens"]) == rows * columns
            assert len(np.unique(expected["tokens"], axis=0)) < rows * columns  # merged, and on the grid again
            for name, found in _outputs(result).items():
                scale = float(np.abs(expected[name]).max())
                np.testing.assert_allclose(
                    found, expected[name], rtol=0, atol=TOLERANCE * scale, err_msg=f"{way} {name}"
                )


def test_another_image_in_the_pack_changes_no_bit(made: Made) -> None:
    with made.session() as session:
        before = [_outputs(result) for result in session.run(made.images)]
        after = [_outputs(result) for result in session.run([255 - made.images[0], *made.images[1:]])]
    for name in before[0]:
        assert not np.array_equal(before[0][name], after[0][name])
        for one, other in zip(before[1:], after[1:], strict=True):
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    ("policy", "reason"), [("token-cap:6", "token cap 6: "), ("fast", "fast: "), ("cascade:6,0.9999", "run again at ")]
)
def test_policies_choose_grids_before_the_merge(made: Made, policy: str, reason: str) -> None:
    images = [np.tile(image, (3, 3, 1)) for image in made.images]  # larger than a preset leaves as they are
    with made.session() as session:
        session_rule = session.run(images)
        found = session.run(images, policy=ne.Policy.parse(policy))
    assert any(result.reason.startswith(reason) for result in found)
    for result, native in zip(found, session_rule, strict=True):
        rows, columns = result.grid
        assert rows * columns == len(result.tokens) <= len(native.tokens)
        assert all(np.isfinite(value).all() for value in _outputs(result).values())


def test_a_policy_that_drops_patches_is_refused_by_name(made: Made) -> None:
    with (
        made.session() as session,
        pytest.raises(InvalidInputError, match=r"policy drop:blank: the model .* merges similar tokens inside"),
    ):
        session.run(made.images, policy=ne.Policy.parse("drop:blank"))
