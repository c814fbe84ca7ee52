"""The command that doctor gives for an engine that does not fit builds that engine again, as it was asked for.

The oracle is build-engine's own key of a build: of the graph, the options, the budgets, the target and the versions.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_bundle import make_bundle
from typer.testing import CliRunner

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Budget, Engine, Manifest
from navit_edge.cli.main import app
from navit_edge.compile import BuildRequest, CompilerOptions, build_engines
from navit_edge.doctor.rebuild import Recipe, for_target, recipe_of


def run_command(command: str) -> Any:
    words = shlex.split(command)
    assert words[0] == "navit-edge"
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.stderr
    return result


def keys(bundle: Path) -> dict[str, str]:
    """Engine -> the key of its build."""
    manifest = manifests.load(bundle)
    return {one.id: json.loads((bundle / str(one.report)).read_text())["key"] for one in manifest.engines}


REQUESTS = {
    "openvino": [BuildRequest(backend="openvino", token_budgets=(512,), max_images=(9,), precision=("fp32",))],
    "openvino, masked": [
        BuildRequest(backend="openvino", token_budgets=(640,), lowering="masked", precision=("fp32",))
    ],
    "openvino, every precision in one file": [BuildRequest(backend="openvino", token_budgets=(768,))],
    "rtx, compiler's options": [
        BuildRequest(
            backend="tensorrt-rtx",
            token_budgets=(128, 512),
            max_images=(3, 20),
            precision=("fp16",),
            targets=("sm89",),
            fp32_trunk=True,
            compiler=CompilerOptions(
                workspace_bytes=1536 << 20, optimization_level=2, max_aux_streams=1, profiling_verbosity="none"
            ),
        )
    ],
    "rtx, an engine for each budget": [
        BuildRequest(
            backend="tensorrt-rtx",
            token_budgets=(128, 256),
            precision=("fp16",),
            targets=("sm86", "sm89"),
            engine_per_budget=True,
        )
    ],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("rebuild") / "tiny.navit")


@pytest.mark.parametrize("requests", REQUESTS.values(), ids=REQUESTS)
def test_the_command_makes_the_very_same_build(source: Path, tmp_path: Path, requests: list[BuildRequest]) -> None:
    bundle = Path(shutil.copytree(source, tmp_path / "my bundle.navit"))
    for request in requests:
        build_engines(bundle, request)
    before = keys(bundle)
    manifest = manifests.load(bundle)
    for engine in manifest.engines:
        command = recipe_of(bundle, manifest, engine).command(bundle)
        assert command.endswith(" --force")
        plan = json.loads(run_command(f"{command} --dry-run --json").stdout)
        planned = json.dumps(plan)
        assert all(key in planned for key in before.values()), command
    run_command(command)
    assert keys(bundle) == before


def recipe(**changes: Any) -> Recipe:
    values = {"backend": "tensorrt", "precisions": ("bf16",), "budgets": ((256, 8), (1024, 32)), "settings": {}}
    return Recipe(**{**values, **changes})


def test_an_engine_without_a_report_keeps_what_its_manifest_says(source: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(source, tmp_path / "b.navit"))
    build_engines(bundle, REQUESTS["openvino, masked"][0])
    manifest = manifests.load(bundle)
    (engine,) = manifest.engines
    (bundle / str(engine.report)).unlink()
    command = recipe_of(bundle, manifest, engine).command(Path("b.navit"))
    assert "--token-budgets 640 --max-images 640 --lowering masked --force" in command


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2147483648B", "2048M"), ("1536B", "1536B"), ("3072B", "3K"), ("5000000000B", "4882812K"), ("2G", "2G")],
)
def test_a_workspace_is_written_as_build_engine_reads_it(value: str, expected: str) -> None:
    from navit_edge.compile.compiler_options import parse_size

    command = recipe(settings={"--workspace": value}).command(Path("b"))
    assert f"--workspace {expected} " in command
    assert parse_size(expected) == pytest.approx(parse_size("2048M") if value == "2G" else int(value[:-1]), rel=1e-6)


def test_another_gpu_keeps_the_options_and_drops_what_it_does_not_know() -> None:
    given = {"--fp32-trunk": "true", "--hardware-compatibility-level": "ampere+", "--workspace": "1073741824B"}
    moved = for_target(recipe(settings=given), backend="tensorrt-rtx", precision="fp16", target="sm75")
    assert moved.command(Path("b"), force=False) == (
        "navit-edge build-engine b --backend tensorrt-rtx --precision fp16 --target sm75 "
        "--token-budgets 256,1024 --max-images 8,32 --fp32-trunk --workspace 1024M"
    )
    strict = recipe(precisions=("fp32",), settings={"--strict": "true"})
    assert "--strict" not in for_target(strict, backend="tensorrt", precision="fp16").command(Path("b"))


def test_engines_of_one_budget_each_are_built_again_together(source: Path) -> None:
    """As build-engine makes them for TensorRT 10.3, where one engine must not hold several profiles."""
    manifest = manifests.load(source)

    def engine(tokens: int, stem: str = "tensorrt-sm87-fp16") -> Engine:
        return Engine(
            id=f"{stem}-t{tokens}", backend="tensorrt", target="sm87", precision="fp16", graph="masked",
            strategy="first-fit-decreasing", dynamic_tokens=False, file=f"engines/{stem}-t{tokens}.plan",
            budgets=(Budget(tokens=tokens, images=tokens // 32, target_tokens=tokens),), builder={},
        )  # fmt: skip

    engines = (engine(1024), engine(256), engine(512, "tensorrt-sm87-bf16"))
    manifest = msgspec.structs.replace(manifest, engines=engines)
    assert isinstance(manifest, Manifest)
    assert recipe_of(source, manifest, engines[0]).command(Path("b")) == (
        "navit-edge build-engine b --backend tensorrt --precision fp16 --token-budgets 256,1024 --max-images 8,32 "
        "--lowering masked --engine-per-budget --force"
    )
