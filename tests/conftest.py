"""Fixtures for every test: real photographs, and one small bundle with its engines, made once a run."""

from __future__ import annotations

import fcntl
import functools
import gc
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

if TYPE_CHECKING:
    import navit_edge as ne
    from navit_edge_export.model import NaViT

Photographs = Mapping[str, npt.NDArray[np.uint8]]
#: made_once(name, make): see the fixture.
MadeOnce = Callable[[str, Callable[[Path], object]], Path]

#: The folder of made_once, for the processes that a test starts.
PLACE = "NAVIT_EDGE_TESTS_MADE_ONCE"

# `pytest -n` has a worker a core, and their libraries would start a thread a core each. Before the first is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# No example has to be drawn or to end within a time: the machine may be busy with other work.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

#: Photographs that the wheels of scikit-image and scikit-learn hold: name -> (package, file, crop).
PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png", None),  # 512 x 512
    "cat": ("skimage", "data/chelsea.png", None),  # 451 x 300
    "coffee": ("skimage", "data/coffee.png", (0, 60, 600, 160)),  # wide
    "rocket": ("skimage", "data/rocket.jpg", (250, 0, 380, 427)),  # tall
    "page": ("skimage", "data/page.png", None),  # 384 x 191
    "china": ("sklearn", "datasets/images/china.jpg", None),  # 640 x 427
    "flower": ("sklearn", "datasets/images/flower.jpg", (200, 80, 437, 250)),
    "eye": ("skimage", "data/chelsea.png", (100, 60, 150, 95)),  # 50 x 35
}
#: The small model: random weights, the same in every run.
TINY_SEED = 7
TINY_MAX_TOKENS = 256


#: The files that take longest on two cores go to the workers first, so that none is left alone with one at the end.
LONGEST = (
    "test_every_family", "test_build_s16", "test_qwen_vl", "test_build_matrix", "test_graphs_against_pytorch",
    "test_leaks", "test_dinov2", "test_siglip2", "test_timm_naflexvit", "test_gpu_check", "test_verify",
    "test_consumer", "test_export_bundle", "test_planner", "test_planner_bounds", "test_memory",
)  # fmt: skip


#: Folders and files that take more than a few seconds of a core; `make test-fast` leaves them out.
SLOW = {
    "families", "parity", "consumer", "training", *LONGEST, "test_bench", "test_build_lowering", "test_build_runner",
    "test_build_tensorrt", "test_cli", "test_cli_build", "test_cli_export", "test_cli_quantize", "test_cli_run",
    "test_decode_in_flight", "test_decode_limits", "test_decode_refusals", "test_direction_rules", "test_docs_commands",
    "test_doctor", "test_doctor_machine", "test_doctor_rebuild", "test_evaluate", "test_fork", "test_fuzz",
    "test_metrics", "test_model", "test_model_config", "test_package", "test_packed_session", "test_preprocessing",
    "test_quantize", "ray", "test_gpu_proof", "test_gpu_sessions",
    "test_quantize_layers", "test_quantize_runs", "test_readme", "test_results", "test_run_interrupted",
    "test_run_outputs", "test_run_places", "test_run_resume", "test_session_slots", "test_shipped_model",
    "test_soak", "test_stream", "test_stubs", "test_tensorrt_on_a_stand_in", "test_tensorrt_simulated",
    "test_tensorrt_slots", "test_tune_command", "test_up",
}  # fmt: skip
#: What a Python that PyTorch is not installed for does without: files that import any of these are left out.
OF_TORCH = re.compile(r"^(?:import|from) (?:torch|timm|transformers|navit_edge_export)\b", re.MULTILINE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by file, stable within each, and marks what is slow."""
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    for item in items:
        if is_slow(item.path):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """onnxscript parses the sources of its functions for every graph that is exported, a tenth of what that takes; here
    once a process."""
    traced = getattr(sys.modules.get("onnxscript._internal.values"), "TracedOnnxFunction", None)
    parsed = getattr(traced, "function_ir", None)
    if isinstance(parsed, property) and parsed.fget is not None:
        once = functools.cached_property(parsed.fget)
        once.__set_name__(traced, "function_ir")
        traced.function_ir = once


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """A worker of pytest-xdist that died says how: the system's number, and whether memory was short."""
    if error:
        ended = node.gateway._io.popen.wait()
        free = re.search(r"MemAvailable: *(.*)", Path("/proc/meminfo").read_text("ascii"))
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        print(
            f"\n{node.gateway.id} ended with {ended} (a negative number is a signal's); memory available: "
            f"{free and free[1]}; the largest process so far took {largest} MiB",
            file=sys.stderr,
        )


def is_slow(path: Path) -> bool:
    return not SLOW.isdisjoint((path.stem, path.parent.name))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is not run is not imported: the slow files, and without PyTorch the files that import it."""
    if config.option.markexpr == "not slow" and is_slow(collection_path):
        return True
    if find_spec("torch") is not None or collection_path.suffix != ".py":
        return None
    return OF_TORCH.search(collection_path.read_text("utf-8")) is not None or None


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_stays() -> None:
    """No collection looks again through what imports and earlier files have made: beside torch half a million objects,
    a third of a second for each ``gc.collect()`` of a test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def made_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """What is expensive to make: ``made_once("name", make)`` is a folder that ``make(folder)`` has filled.

    Once a run, also where workers of pytest-xdist share the tests, or a test starts pytest itself: who asks first makes
    it, the others wait. Tests read it and never change it.
    """
    if PLACE not in os.environ:
        base = tmp_path_factory.getbasetemp()
        is_worker = hasattr(request.config, "workerinput")
        os.environ[PLACE] = str((base.parent if is_worker else base) / "made-once")
    root = Path(os.environ[PLACE])
    root.mkdir(exist_ok=True)

    def call(name: str, make: Callable[[Path], object]) -> Path:
        folder, complete = root / name, root / f"{name}.complete"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed or died
                folder.mkdir()
                make(folder)
                complete.touch()
        return folder

    return call


@pytest.fixture(scope="session")
def photographs() -> Photographs:
    """Real photographs of different sizes and aspects, uint8 [height_px, width_px, 3]."""
    images = {}
    for name, (package, file, crop) in PHOTOGRAPHS.items():
        spec = find_spec(package)
        assert spec is not None, f"{package} is not installed: pip install navit-edge[demo]"
        assert spec.origin is not None
        with Image.open(Path(spec.origin).parent / file) as image:
            images[name] = np.array((image.crop(crop) if crop else image).convert("RGB"))
    assert len({image.shape for image in images.values()}) == len(images)
    return images


def make_tiny_model() -> NaViT:
    """A NaViT of 2 layers and width 64 with random weights."""
    pytest.importorskip("torch")
    from navit_edge_export.model import NaViT, NaViTConfig

    config = NaViTConfig(width=64, depth=2, heads=4, mlp_width=128, position_entries=16, num_classes=10)
    return NaViT(config, seed=TINY_SEED).eval()


def export_tiny_bundle(model: NaViT, path: Path) -> None:
    """The small model as a bundle, all three outputs, without engines."""
    from navit_edge_export.onnx_export import export_bundle

    export_bundle(model, path, max_tokens=TINY_MAX_TOKENS, outputs=("logits", "embedding", "tokens"))


def make_tiny_bundle(folder: Path) -> None:
    """The folder "bundle" of made_once; scripts/check_python.sh makes it for a Python without PyTorch."""
    from navit_edge.compile import BuildRequest, build_engines

    path = folder / "tiny.navit"
    export_tiny_bundle(make_tiny_model(), path)
    build_engines(path, BuildRequest(backend="openvino", token_budgets=(1024,)))


@pytest.fixture(scope="session")
def tiny_model() -> NaViT:
    """A NaViT of 2 layers and width 64 with random weights."""
    return make_tiny_model()


@pytest.fixture(scope="session")
def tiny_bundle(made_once: MadeOnce) -> Path:
    """The small model as a bundle, all three outputs, with OpenVINO engines of every precision this CPU has."""

    return made_once("bundle", make_tiny_bundle) / "tiny.navit"


@pytest.fixture(scope="session")
def small_budget_bundle(tiny_bundle: Path, made_once: MadeOnce) -> Path:
    """The same bundle with an engine that takes 64 tokens at most, so that larger images fit no budget."""

    def make(folder: Path) -> None:
        from navit_edge.compile import BuildRequest, build_engines

        path = folder / "small.navit"
        shutil.copytree(tiny_bundle, path)
        request = BuildRequest(backend="openvino", token_budgets=(64,), precision=("fp32",), force=True)
        build_engines(path, request)

    return made_once("small-budget", make) / "small.navit"


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy.navit"))


@pytest.fixture(scope="session")
def pytorch_alone(tiny_model: NaViT) -> Callable[[npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.float32]]]:
    """The oracle: PyTorch on one image at a time, resized by Pillow. Gives logits, embedding and tokens."""
    import torch

    from navit_edge_export.preprocess import prepare

    def run(image: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        sized = prepare(image, patch_px=tiny_model.config.patch_px, max_tokens=TINY_MAX_TOKENS)
        with torch.no_grad():
            outputs = tiny_model.forward_images([sized])
        return {name: value.numpy()[0] if name != "tokens" else value.numpy() for name, value in outputs.items()}

    return run


@pytest.fixture(scope="session")
def tiny_session(tiny_bundle: Path) -> ne.Session:
    """A session on the small bundle's float32 engine."""
    import navit_edge as ne

    return ne.Session(tiny_bundle, precision="fp32")


@pytest.fixture(scope="session")
def wheel(repository: Path, made_once: MadeOnce) -> Path:
    """The wheel, built as a user would, once a run; what the editable install compiled is not compiled again."""

    def make(folder: Path) -> None:
        finished = subprocess.run(
            [
                sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", str(repository),
                "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout

    (path,) = made_once("wheel", make).glob("navit_edge-*.whl")
    return path


@pytest.fixture(scope="session")
def siglip2_bundle(made_once: MadeOnce) -> Path:
    """A tiny SigLIP2 with its text tower, exported by the command from "folder" beside it, with an OpenVINO engine."""

    def make(folder: Path) -> None:
        from siglip2_folder import make_folder
        from typer.testing import CliRunner

        from navit_edge.cli.main import app
        from navit_edge.compile import BuildRequest, build_engines

        make_folder(folder / "folder")
        bundle = folder / "model.navit"
        options = ("--text", "--lowerings", "masked,padded", "--processor", "pillow")
        command = ["export", "--checkpoint", str(folder / "folder"), *options, "-o", str(bundle)]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.stderr
        build_engines(bundle, BuildRequest(backend="openvino", token_budgets=(1024,), precision=("fp32",)))

    return made_once("siglip2", make) / "model.navit"
