"""`navit-edge verify`: it passes what is right, and each thing that it is there to find is planted and found."""

from __future__ import annotations

import errno
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bundle import hashing, publish, staging
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Budget, Sizing, Tolerance
from navit_edge.bundle.staging import make_staging
from navit_edge.cli.main import app
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.verify import Certificate, verify
from navit_edge.verify.layers import cuts
from navit_edge_export.model import NaViTConfig
from navit_edge_export.onnx_export import export_bundle

ENGINE = "openvino-cpu-fp32"


def build(bundle: Path) -> None:
    build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(NaViTConfig(width=64, depth=3, heads=4), tmp_path_factory.mktemp("verify") / "x.navit")


@pytest.fixture(scope="module")
def built(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = shutil.copytree(exported, tmp_path_factory.mktemp("built") / "x.navit")
    build(bundle)
    return bundle


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "x.navit")


def change_graph(bundle: Path, change) -> None:  # type: ignore[no-untyped-def]
    """Applies ``change`` to the padded graph, which the CPU's engine is built from, and seals the bundle again."""
    path = bundle / "graphs" / "padded.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model.graph)
    path.write_bytes(model.SerializeToString())
    publish.seal(bundle, manifests.load(bundle))


def broken_checks(certificate: Certificate) -> set[str]:
    return {check.name for one in certificate.engines for check in one.checks if not check.holds}


def test_a_right_engine_passes_and_the_bundle_keeps_the_certificate(bundle: Path) -> None:
    certificate = verify(bundle)
    assert certificate.broken == []
    (one,) = certificate.engines
    assert (one.engine, set(one.distances)) == (ENGINE, {"logits", "embedding"})
    assert one.distances["logits"].relative < 1e-4
    assert one.worst_layer is None
    names = [check.name for check in (*certificate.bundle, *one.checks)]
    assert "one image changed, the others bit-equal" in names
    assert "graph masked: beside padding as alone" in names
    assert "graph padded as graph masked" in names
    manifest = manifests.load(bundle)
    hashing.verify_files(bundle, manifest)
    kept = msgspec.json.decode((bundle / "reports" / "parity.json").read_bytes(), type=Certificate)
    assert kept == certificate
    verify(bundle)  # again, over the old one
    hashing.verify_files(bundle, manifests.load(bundle))
    ne.Session(bundle)  # the C++ reader takes the manifest with it


@pytest.mark.parametrize("sizing", ["naflex:max_tokens=576", "fixed:height_px=352,width_px=352"])
def test_an_engine_is_right_if_the_planner_sends_images_of_the_rules_size_alone(sizing: str, tmp_path: Path) -> None:
    bundle = export_bundle(NaViTConfig(width=32, depth=1, heads=2), tmp_path / "x.navit", sizing=sizing)
    build(bundle)
    session = ne.Session(bundle)
    session.run([np.zeros((200 + k, 300, 3), np.uint8) for k in range(3)])
    assert [pack["images"] for pack in session.last_report["packs"]] == [1, 1, 1]
    certificate = verify(bundle, write=False)
    assert broken_checks(certificate) == set()
    (packed,) = (check for check in certificate.engines[0].checks if check.name == "packed as alone")
    if sizing.startswith("naflex"):
        assert re.search(r"; ([2-9]|\d\d) in a pack of at most \d+ tokens", packed.found)
    else:
        assert packed.found.endswith("; each alone, as the planner chooses for these sizes")


def polygraphy(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    code = "import sys; from polygraphy.tools import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_a_layer_that_computes_otherwise_is_found_and_named_and_polygraphy_goes_on_there(
    bundle: Path, tmp_path: Path
) -> None:
    def plant(graph: onnx.GraphProto) -> None:
        add = next(node for node in graph.node if "blocks.1.mlp.down.bias" in node.input)
        half = numpy_helper.from_array(np.float32(1.5), "planted")
        graph.initializer.append(half)
        result = add.output[0]
        add.output[0] = "before_the_plant"
        at = list(graph.node).index(add) + 1
        graph.node.insert(at, helper.make_node("Mul", ["before_the_plant", "planted"], [result]))

    change_graph(bundle, plant)
    build(bundle)
    inputs, outputs = tmp_path / "inputs.json", tmp_path / "outputs.json"
    arguments = ["verify", str(bundle), "--json", "--save-inputs", str(inputs), "--save-outputs", str(outputs)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    certificate = msgspec.json.decode(done.stdout, type=Certificate)
    assert {"logits as in float32", "embedding as in float32"} <= broken_checks(certificate)
    assert any(check.name == "graph padded as graph masked" and not check.holds for check in certificate.bundle)
    worst = certificate.engines[0].worst_layer
    assert worst is not None
    assert "blocks.1.mlp.down" in worst.words
    assert "blocks.0" not in worst.words
    assert "blocks.2" not in worst.words

    command = next(line for line in done.stderr.splitlines() if line.startswith("polygraphy run "))
    compared = polygraphy(shlex.split(command)[1:])  # as it is printed
    assert compared.returncode == 1, compared.stderr
    verdicts = {tuple(found) for found in re.findall(r"(PASSED|FAILED) \| Output: '(\w+)'", compared.stdout)}
    assert verdicts == {("PASSED", worst.after), ("FAILED", worst.value)}
    files = ["--load-inputs", str(inputs), "--load-outputs", str(outputs), "--atol", "1e-5"]
    compared = polygraphy(["run", str(bundle / "graphs" / "masked.onnx"), "--onnxrt", *files])
    assert compared.returncode == 0, compared.stdout  # this graph is right, and gives what was saved


def test_an_engine_whose_images_see_each_other_is_found(bundle: Path, tmp_path: Path) -> None:
    """The engine of a graph that mixes all tokens stands in the place of the right one, hash and all."""

    def leak(graph: onnx.GraphProto) -> None:
        add = next(node for node in graph.node if "blocks.1.mlp.down.bias" in node.input)
        result = add.output[0]
        add.output[0] = "own"
        graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "over_tokens"))
        at = list(graph.node).index(add) + 1
        graph.node.insert(at, helper.make_node("ReduceMean", ["own", "over_tokens"], ["everybody"], keepdims=1))
        graph.node.insert(at + 1, helper.make_node("Add", ["own", "everybody"], [result]))

    other = shutil.copytree(bundle, tmp_path / "leaking.navit")
    change_graph(other, leak)
    build(other)
    file = manifests.load(bundle).engines[0].file
    shutil.copy(other / manifests.load(other).engines[0].file, bundle / file)
    publish.seal(bundle, manifests.load(bundle))
    certificate = verify(bundle)
    assert {"one image changed, the others bit-equal", "packed as alone"} <= broken_checks(certificate)


def test_preprocessing_that_differs_from_export_is_found(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    golden = msgspec.structs.replace(manifest.golden[3], sha256="0" * 64)
    goldens = (*manifest.golden[:3], golden, *manifest.golden[4:])
    manifests.save(msgspec.structs.replace(manifest, golden=goldens), bundle)
    certificate = verify(bundle, write=False)
    assert [check.holds for check in certificate.bundle][:1] == [False]
    assert f"{golden.height_px} x {golden.width_px} px: other patches" in certificate.bundle[0].found


def test_the_tolerance_of_the_manifest_decides_and_the_exit_code_says_so(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    strict = {**manifest.tolerances, "fp32": Tolerance(min_cosine=1.0, max_relative=0.0, min_top1=1.0)}
    manifests.save(msgspec.structs.replace(manifest, tolerances=strict), bundle)
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 1
    assert "expected 0 at most" in done.stderr
    assert "worst layer" in done.stdout
    go_on = [line.split() for line in done.stderr.splitlines()]
    assert ["navit-edge", "verify", str(bundle), "--engine", ENGINE, "--no-write"] in [words[:6] for words in go_on]
    assert ["polygraphy", "run"] in [words[:2] for words in go_on]


def test_the_command_prints_tables_or_json_and_leaves_the_bundle_alone_where_asked(bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    done = CliRunner().invoke(app, ["verify", str(bundle), "--json", "--no-write", "--engine", ENGINE])
    assert done.exit_code == 0, done.stderr
    (one,) = json.loads(done.stdout)["engines"]
    assert one["engine"] == ENGINE
    assert (bundle / "manifest.json").read_bytes() == before
    assert not (bundle / "reports" / "parity.json").exists()
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 0, done.stderr
    assert "least cosine" in done.stdout


def test_images_of_a_folder_are_judged_and_what_was_left_out_is_said(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for index, (height, width) in enumerate([(40, 300), (96, 64), (130, 130)]):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    certificate = verify(bundle, images=folder)
    assert certificate.broken == []
    assert certificate.engines[0].images.startswith("3 images of 3 sizes, of the given folder, left out: ")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ne.InvalidInputError, match="holds no images; expected files named"):
        verify(bundle, images=tmp_path / "empty")


def test_what_a_scaled_decode_changes_is_measured_and_kept(bundle: Path, tmp_path: Path) -> None:
    manifests.save(manifests.for_pixels(manifests.load(bundle), "pillow", "scaled"), bundle)
    certificate = verify(bundle)
    assert certificate.broken == []
    (one,) = certificate.engines
    assert set(one.scaled) == {"logits", "embedding"}
    assert all(apart.max_abs > 0 and 0.99 < apart.least_cosine < 1 for apart in one.scaled.values())
    kept = msgspec.json.decode((bundle / "reports" / "parity.json").read_bytes(), type=Certificate)
    assert kept.engines[0].scaled == one.scaled
    assert verify(bundle, decode=ne.DecodeOptions(jpeg="exact")).engines[0].scaled == {}

    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(6)
    for index in range(3):
        noise = rng.integers(0, 256, (2000, 2600, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.jpg", quality=95)
        Image.fromarray(noise[:100, :100]).save(folder / f"{index}.png")
    of_noise = verify(bundle, images=folder)  # all of it lies in the frequencies that are left out
    (check,) = [check for check in of_noise.engines[0].checks if check.name.startswith("logits: least cosine, decoded")]
    assert "3 of 6 files" in check.found
    for file in folder.glob("*.jpg"):
        file.unlink()
    (found,) = verify(bundle, images=folder).broken
    assert "none of 3 files is decoded so" in found


def test_an_image_that_the_bundle_refuses_is_named_and_the_rest_is_judged(bundle: Path, tmp_path: Path) -> None:
    """transformers' smart_resize takes aspects up to 200."""
    sizing = Sizing(rule="smart-resize", merge=2, min_pixels=1024, max_pixels=256 * 256)
    manifest = manifests.load(bundle)
    preprocess = msgspec.structs.replace(manifest.preprocess, sizing=sizing)
    manifests.save(msgspec.structs.replace(manifest, preprocess=preprocess), bundle)
    folder = tmp_path / "images"
    folder.mkdir()
    for index, size in enumerate([(300, 40), (4000, 4), (64, 96)]):
        Image.new("RGB", size, (index * 90, 40, 200 - index * 60)).save(folder / f"{index}.png")
    certificate = verify(bundle, images=folder, write=False)
    (one,) = certificate.engines
    assert all(check.holds for check in one.checks)
    assert one.images.startswith("2 images of 2 sizes, of the given folder, left out: ")
    assert f"{folder / '1.png'}: " in one.images
    (folder / "2.png").unlink()
    with pytest.raises(ne.InvalidInputError, match=r"takes 1 of 2 images; expected at least two \(.*1\.png: "):
        verify(bundle, images=folder, write=False)


def test_an_engine_whose_budget_the_models_own_tokens_fill_is_said_to_run_no_image(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    (engine,) = manifest.engines
    small = msgspec.structs.replace(engine, budgets=(Budget(tokens=5, images=1, target_tokens=5),))
    model = msgspec.structs.replace(manifest.model, prefix_tokens=5)
    manifests.save(msgspec.structs.replace(manifest, model=model, engines=(small,)), bundle)
    with pytest.raises(ne.BackendError, match=r"takes 5 tokens, and 5 of each image are .* --token-budgets of 6"):
        verify(bundle)
    with pytest.raises(ne.InvalidInputError, match=r"token budget 5: .* expected at least 6; give a larger"):
        build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(5,)))


@pytest.mark.parametrize("broken", [False, True], ids=["a right engine", "an engine past its tolerance"])
def test_a_bundle_that_takes_no_file_does_not_cost_the_verdict(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    if broken:
        manifest = manifests.load(bundle)
        strict = {**manifest.tolerances, "fp32": Tolerance(min_cosine=1.0, max_relative=0.0, min_top1=1.0)}
        manifests.save(msgspec.structs.replace(manifest, tolerances=strict), bundle)

    def read_only(parent: Path, prefix: str) -> tuple[Path, int]:  # for root no permission would be enough
        if parent == bundle:
            raise OSError(errno.EROFS, "Read-only file system")
        return make_staging(parent, prefix)

    monkeypatch.setattr(staging, "make_staging", read_only)
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 1
    assert "least cosine" in done.stdout
    first = done.stderr.partition("\n")[0]
    assert first.startswith(f"note: cannot write into {bundle}: Read-only file system"), "before the work"
    assert f"not kept: cannot write into {bundle}: Read-only file system" in " ".join(done.stderr.split())
    assert "--no-write" in done.stderr
    assert ("do not use this engine" in done.stderr) == broken
    done = CliRunner().invoke(app, ["verify", str(bundle), "--no-write"])
    assert done.exit_code == int(broken)


def test_weights_that_are_no_numbers_fail_the_verdict_by_name(bundle: Path) -> None:
    model = onnx.load(bundle / "graphs" / "masked.onnx", load_external_data=False)
    tensor = next(one for one in model.graph.initializer if one.name == "blocks.1.mlp.down.bias")
    offset = next(int(entry.value) for entry in tensor.external_data if entry.key == "offset")
    path = bundle / "graphs" / "weights.bin"
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = np.float32("nan").tobytes()
    path.write_bytes(content)
    publish.seal(bundle, manifests.load(bundle))
    done = CliRunner().invoke(app, ["verify", str(bundle)])
    assert done.exit_code == 1
    assert "every weight is a finite number: 1 of" in done.stderr
    assert "hold NaN or infinity: blocks.1.mlp.down.bias" in done.stderr
    assert "export a checkpoint from before" in done.stderr


def test_what_cannot_be_verified_is_said_and_never_passed(
    bundle: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ne.BackendError, match="holds no engine; build one"):
        verify(exported)
    with pytest.raises(ne.InvalidInputError, match=f"no engine 'nope'; it has {ENGINE}"):
        verify(bundle, engines=["nope"])
    manifest = manifests.load(bundle)
    gpu = msgspec.structs.replace(manifest.engines[0], id="gpu", backend="tensorrt-rtx", target="sm89")
    manifests.save(msgspec.structs.replace(manifest, engines=(*manifest.engines, gpu)), bundle)
    certificate = verify(bundle, write=False)
    assert "did not load" in certificate.not_run["gpu"]
    assert [one.engine for one in certificate.engines] == [ENGINE]
    with pytest.raises(ne.BackendError):
        verify(bundle, engines=["gpu"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ne.MissingPackageError, match=r'onnxruntime.*pip install "navit-edge\[verify\]"'):
        verify(bundle)


def test_an_altered_engine_is_refused_before_it_is_opened(bundle: Path) -> None:
    file = bundle / manifests.load(bundle).engines[0].file
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ne.BundleError, match="was altered"):
        verify(bundle)


def test_a_certificate_keeps_other_machines_and_forgets_engines_that_were_built_anew(bundle: Path) -> None:
    one = verify(bundle, write=False).engines[0]
    elsewhere = msgspec.structs.replace(one, device="another board")
    stale = msgspec.structs.replace(one, device="a third board", sha256="0" * 64)
    older = Certificate(engines=(elsewhere, stale, one))
    merged = older.merged(Certificate(engines=(one,)), {one.engine: one.sha256})
    assert [(entry.device, entry.sha256) for entry in merged.engines] == [
        ("another board", one.sha256),
        (one.device, one.sha256),
    ]


def test_every_cut_lies_on_each_way_from_pixels_to_tokens(exported: Path) -> None:
    """Removing a cut's node leaves nothing of `tokens` that depends on `patches`."""
    model = onnx.load(exported / "graphs" / "masked.onnx", load_external_data=False)
    found = cuts(model)
    assert len(found) >= 2 * 3 + 1  # twice a layer, and the end
    for value in found:
        reached = {"patches"}
        for node in model.graph.node:
            if value not in node.output and any(name in reached for name in node.input):
                reached.update(node.output)
        assert "tokens" not in reached, value
