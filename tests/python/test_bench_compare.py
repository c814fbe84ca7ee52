"""`navit-edge bench` with several engines, and what it says of the device beside the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from tiny_bundle import make_bundle
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bench import BenchOptions
from navit_edge.bench.compare import Ratio, in_turn, ratio
from navit_edge.bench.measure import measure
from navit_edge.bench.workload import ladder, planning_ms, synthetic
from navit_edge.bundle import manifest as manifests
from navit_edge.cli.main import app
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.errors import InvalidInputError
from navit_edge.machine.gpu import DeviceMemory, read_gpu

QUICK = ("--warmup", "0", "--iterations", "4", "--duration", "0")


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "160", "TERM": "dumb"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two engines of one graph: fp32 in its padded and in its masked form."""
    path = make_bundle(tmp_path_factory.mktemp("compare") / "tiny.navit")
    build_engines(path, BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(512,)))
    manifest = ne.load_manifest(path)
    twin = msgspec.structs.replace(manifest.engines[0], id="twin")
    manifests.save(msgspec.structs.replace(manifest, engines=(*manifest.engines, twin)), path)
    return path


class Clock:
    """Time that passes in runs only, so that a busy machine changes no figure."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("navit_edge.bench.compare.time", made)
    monkeypatch.setattr("navit_edge.bench.measure.time", made)
    return made


class Timed:
    """A session whose run takes a given time of a clock; writes down who ran when."""

    def __init__(self, name: str, seconds: float, log: list[str], clock: Clock) -> None:
        self.name, self.seconds, self.log, self.clock = name, seconds, log, clock
        self.last_report = {"packs": [{"tokens": 4}]}

    def run(self, images: Any) -> list[None]:
        self.log.append(self.name)
        self.clock.now += self.seconds
        return [None] * len(images)


IMAGES = [np.zeros((4, 4, 3), np.uint8)]


def options(**changes: Any) -> BenchOptions:
    return BenchOptions(**{"warmup_ms": 0.0, "iterations": 8, "duration_s": 0.0, **changes})


def test_engines_run_in_turn_and_the_reference_twice_a_round(clock: Clock) -> None:
    log: list[str] = []
    sessions: Any = {"a": Timed("a", 0.001, log, clock), "b": Timed("b", 0.001, log, clock)}
    row = in_turn(sessions, IMAGES, options(iterations=6), name="x")
    assert row.rounds == 6
    assert log[:2] == ["a", "b"]  # warm-up
    rounds = ["".join(log[start : start + 3]) for start in range(2, len(log), 3)]
    assert rounds == ["aba", "baa", "aab"] * 2


def test_a_ratio_is_that_of_the_times_and_the_reference_against_itself_is_1(clock: Clock) -> None:
    log: list[str] = []
    sessions: Any = {"a": Timed("a", 0.004, log, clock), "b": Timed("b", 0.012, log, clock)}
    row = in_turn(sessions, IMAGES, options(iterations=15), name="x")
    assert row.ratios["b"].median == pytest.approx(3)
    assert row.noise.median == pytest.approx(1)
    assert row.differs("b")
    assert set(row.latency_ms) == {"a", "b"}
    assert row.latency_ms["a"]["min"] == pytest.approx(4)


def test_a_machine_that_slows_down_for_a_while_changes_times_and_no_ratio() -> None:
    """Every second half of the rounds takes ten times as long, for both."""
    base = [1.0, 1.1, 0.9, 1.0, 10.0, 11.0, 9.0, 10.0]
    other = [2 * value for value in base]
    found = ratio(other, base)
    assert (found.median, found.margin) == (2.0, 0.0)


def test_equal_engines_are_called_even_and_the_margin_is_mcgills() -> None:
    found = ratio([1.0, 1.02, 0.98, 1.04, 0.96, 1.0, 1.02, 0.98, 1.0], [1.0] * 9)
    assert found.median == 1.0
    assert found.margin == pytest.approx(1.57 * (1.02 - 0.98) / 3)
    assert Ratio(median=0.5, margin=0.012).words == "0.50 ± 0.01"


def test_the_command_compares_two_engines_of_a_bundle(bundle: Path, tmp_path: Path) -> None:
    result = invoke("bench", bundle, *QUICK, "--engine", "openvino-cpu-fp32", "--engine", "twin",
                    "--token-budgets", "64,200", "--json-file", tmp_path / "c.json",
                    "--plot", tmp_path / "c.png")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    content = json.loads((tmp_path / "c.json").read_text())
    assert (content["kind"], content["reference"]) == ("compare", "openvino-cpu-fp32")
    assert [row["tokens"] for row in content["packs"]] == [64, 200]
    for row in [*content["packs"], content["end_to_end"]]:
        assert row["rounds"] == 4
        assert set(row["latency_ms"]) == {"openvino-cpu-fp32", "twin"}
        assert set(row["ratios"]) == {"twin"}
        assert row["noise"]["margin"] >= 0
    assert "engine B" in result.stdout
    assert "A / A" in result.stdout
    assert "equal engines came out up to" in result.stdout
    with Image.open(tmp_path / "c.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(0x1F, 0x5F, 0xA8), (0xD5, 0x5E, 0x00)} <= colours


def test_compare_takes_the_first_engine_that_runs_as_the_reference(bundle: Path) -> None:
    result = invoke("bench", bundle, *QUICK, "--compare", "twin", "--token-budgets", "64", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["engines"] == ["openvino-cpu-fp32", "twin"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--engine", "twin", "--compare", "twin"], 2, "are not all different; name each once"),
        (["--compare", "openvino-cpu-fp32"], 1, "two or more different ones"),
        (["--compare", "nowhere"], 1, "nowhere"),
        (["--token-budgets", "64,many"], 2, "expected whole numbers"),
        (["--token-budgets", "100000"], 1, "a pack of 100000 tokens; expected 1 to"),
    ],
)
def test_what_cannot_be_compared_is_refused(bundle: Path, arguments: list[str], code: int, message: str) -> None:
    result = invoke("bench", bundle, *QUICK, *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_packs_of_given_token_counts_replace_the_ladder(bundle: Path) -> None:
    manifest = ne.load_manifest(bundle)
    engine = manifest.engines[0]
    counts = [sum(rows * cols for rows, cols in grids) for grids in ladder(manifest, engine, (192, 64))]
    assert counts == [64, 192]
    with pytest.raises(InvalidInputError, match="expected 1 to"):
        ladder(manifest, engine, (0,))


# --- stages


def test_planning_is_timed_apart_and_grows_with_the_images(bundle: Path) -> None:
    manifest = ne.load_manifest(bundle)
    few, many = ([(20, 30)] * count for count in (1, 400))
    short, long = (planning_ms(manifest, manifest.engines[0], synthetic(sizes)) for sizes in (few, many))
    assert 0 < short < long < 1000


def test_stages_that_the_session_reports_are_taken_and_those_that_it_does_not_are_null(clock: Clock) -> None:
    pack = {"tokens": 4, "capacity": 4, "budget_tokens": 4, "preprocess_us": 100.0, "engine_us": 300.0}
    session: Any = Timed("a", 0.001, [], clock)
    session.last_report = {"packs": [pack], "predicted_us": 0.0}
    plain = measure(session, IMAGES, options(), name="x", plan_ms=0.25)
    assert (plain.plan_ms, plain.unpack_ms) == (0.25, None)
    assert plain.other_ms == pytest.approx(plain.latency_ms["mean"] - 0.1 - 0.3)
    session.last_report = {"packs": [{**pack, "unpack_us": 50.0}], "plan_us": 200.0, "predicted_us": 0.0}
    told = measure(session, IMAGES, options(), name="x", plan_ms=0.25)
    assert (told.plan_ms, told.unpack_ms) == (0.2, 0.05)
    assert told.other_ms == pytest.approx(told.latency_ms["mean"] - 0.1 - 0.3)  # plan and unpack are in it


# --- the device, as nvidia-smi and the kernel describe it (recorded forms; no device is here)

H100 = "NVIDIA H100 80GB HBM3, 550.54.15, 81559, 1043, 1980, 34, 71.53\n"
THOR = "NVIDIA Thor, 580.00, [N/A], [N/A], 1575, 48, [N/A]\n"


def smi(text: str) -> Any:
    asked: list[list[str]] = []

    def runner(command: list[str]) -> str:
        asked.append(command)
        fields = next(word for word in command if word.startswith("--query-gpu="))
        names = ["name", "driver_version", "memory.total", "memory.used", "clocks.sm", "temperature.gpu", "power.draw"]
        row = dict(zip(names, text.strip().split(", "), strict=True)) if text else {}
        wanted = fields.partition("=")[2].split(",")
        return ", ".join(row[name] for name in wanted) + "\n" if row else ""

    runner.asked = asked  # type: ignore[attr-defined]
    return runner


def test_a_card_is_described_as_nvidia_smi_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    runner = smi(H100)
    gpu = read_gpu(runner, tmp_path)
    assert gpu is not None
    assert (gpu.name, gpu.driver, gpu.unified) == ("NVIDIA H100 80GB HBM3", "550.54.15", False)
    assert (gpu.memory_bytes, gpu.watts) == (81559 * 2**20, 71.53)
    assert "--id=2" in runner.asked[0]
    assert not any("uuid" in word or "serial" in word for word in runner.asked[0])
    assert DeviceMemory(unified=gpu.unified, runner=runner).used_bytes() == 1043 * 2**20


def test_what_nvidia_smi_does_not_say_is_null_and_shared_memory_is_counted_by_the_kernel(tmp_path: Path) -> None:
    gpu = read_gpu(smi(THOR), tmp_path)
    assert gpu is not None
    assert (gpu.unified, gpu.memory_bytes, gpu.watts) == (True, None, None)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n")
    assert DeviceMemory(unified=True, root=tmp_path).used_bytes() == 600 * 1024


def test_a_jetson_without_nvidia_smi_says_its_model_its_power_mode_and_its_clocks(tmp_path: Path) -> None:
    for name, text in {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n",
        "var/lib/nvpmodel/status": "pmode:0000",
        "sys/class/devfreq/17000000.gpu/cur_freq": "612000000",
        "sys/class/devfreq/17000000.gpu/min_freq": "612000000",
        "sys/class/devfreq/17000000.gpu/max_freq": "612000000",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    gpu = read_gpu(smi(""), tmp_path)
    assert gpu is not None
    assert gpu.unified
    assert gpu.board == {
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "jetpack": "6.2",
        "l4t": "36.4.3",
        "power_mode": "15W",
        "gpu_clock_hz": 612000000,
        "clocks_fixed": True,
    }


def test_a_machine_without_a_device_has_no_figures_of_one(bundle: Path, tmp_path: Path) -> None:
    assert read_gpu(smi(""), tmp_path) is None
    assert DeviceMemory(unified=False, runner=smi("")).used_bytes() is None
    content = json.loads(invoke("bench", bundle, *QUICK, "--token-budgets", "64", "--json").stdout)
    assert content["gpu"] is content["device_memory_before_bytes"] is None
    assert content["packs"][0]["device_memory_bytes"] is None
    assert content["packs"][0]["plan_ms"] > 0
    assert (content["schema_version"], content["kind"]) == (1, "engine")


def test_the_plot_of_a_padded_engine_marks_every_budget(bundle: Path, tmp_path: Path) -> None:
    """The report of a padded engine, measured on the CPU's: only what is drawn is looked at."""
    from dataclasses import replace

    from navit_edge.bench import bench
    from navit_edge.bench.plot import plot

    manifest = ne.load_manifest(bundle)
    report = bench(manifest, lambda: ne.Session(bundle), options(iterations=3), bundle=bundle, budgets=(64, 256, 512))
    plot(report, tmp_path / "dynamic.png")
    padded = replace(report, dynamic_tokens=False, budgets=(64, 256, 512))
    plot(padded, tmp_path / "padded.png")
    grey = (0x8A, 0x8F, 0x98)

    def share(name: str) -> int:
        with Image.open(tmp_path / name) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        return int((pixels[: pixels.shape[0] * 3 // 4] == grey).all(axis=-1).sum())

    assert share("padded.png") > share("dynamic.png") + 200
