"""Numbers as options: their ranges, said once in C++, and numpy's scalars, which are numbers everywhere."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import invoke

import navit_edge as ne
from navit_edge import _core
from navit_edge.bench.measure import BenchOptions
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.compile import BuildRequest

RGB = np.zeros((48, 64, 3), np.uint8)
SESSION = (
    "threads",
    "slots",
    "max_tokens_per_image",
    "queue_limit",
    "queue_bytes",
    "decoders",
    "cache_bytes",
    "max_memory",
    "aging_ms",
    "batch_wait_ms",
    "stall_timeout_s",
)


def outside(name: str) -> list[Any]:
    """Values just outside of the range of an option, and what is no number of its kind."""
    least, most, is_whole, zero, _ = _core.option_ranges()[name]
    values: list[Any] = [-1, math.nan, math.inf, -math.inf, "1", None, True, np.bool_(True), [1], np.ones(1)]
    if is_whole:
        values += [int(most) + 1, 1.5, 2.0, 10**30, -(10**30)]
    else:
        values += [most + 1] + ([least / 2] if least > 0 else [])
    return values if zero or least <= 0 else [*values, 0]


@pytest.mark.parametrize("name", SESSION)
def test_an_option_outside_of_its_range_is_refused_with_found_and_expected(tiny_bundle: Path, name: str) -> None:
    expected = _core.option_ranges()[name][4]
    texts = name == "max_memory"  # "1" is a size there
    for value in outside(name):
        if texts and isinstance(value, str):
            continue
        with pytest.raises(ne.InvalidInputError) as refused:
            ne.Session(tiny_bundle, **{name: value})
        assert str(refused.value) == f"{name} is {value!r}; expected {expected}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads", 100_000), ("slots", 1000), ("batch_wait_ms", 1e15), ("stall_timeout_s", 1e-9), ("queue_limit", 2**31)],
)
def test_a_slip_is_not_taken_for_a_wish(tiny_bundle: Path, name: str, value: Any) -> None:
    with pytest.raises(ne.InvalidInputError, match=f"{name} is"):
        ne.Session(tiny_bundle, **{name: value})


def test_the_docstrings_say_the_ranges_of_the_table() -> None:
    text = " ".join((ne.Session.__doc__ or "").split() + (ne.Session.stream.__doc__ or "").split())
    for name in ("threads", "slots", "aging_ms", "batch_wait_ms", "stall_timeout_s", "decoders"):
        least, most, *_ = _core.option_ranges()[name]
        entry = text[text.index(f"{name}: ") :]
        assert f"{least:g} to {most:.0f}" in entry[:320], name


@pytest.mark.parametrize("number", [np.int64, np.uint8, np.int16, np.float32, np.float64, Fraction])
def test_numpys_scalars_are_numbers(tiny_bundle: Path, number: Callable[[int], Any]) -> None:
    is_whole = isinstance(number(1), (int, np.integer))
    one = number(1) if is_whole else 1
    with ne.Session(
        tiny_bundle,
        precision="fp32",
        threads=one,
        slots=one,
        queue_limit=one,
        decoders=one,
        max_tokens_per_image=number(64) if is_whole else 64,
        batch_wait_ms=number(1),
        stall_timeout_s=number(60),
    ) as session:
        future = session.submit(RGB, deadline_ms=number(5), priority=one)
        assert future.result(number(60)).error is None
        assert future.exception(number(1)) is None
        stream = session.stream([RGB], capacity=one, deadline_ms=number(5), priority=one)
        assert [result.error for result in stream] == [None]
        session.run([RGB], policy=ne.Policy.latency(number(5)))
    counts = [one, one]
    assert ne.plan(counts, token_budget=one, max_images=one) == [[0], [1]]


@pytest.mark.parametrize("number", [np.int64, np.uint8, np.int16])
def test_numpys_scalars_are_numbers_outside_of_sessions(number: Callable[[int], Any]) -> None:
    cap = Sizing(rule="token-cap", max_tokens=number(64))
    assert to_json(cap) == to_json(Sizing(rule="token-cap", max_tokens=64))
    packed = ne.pack([RGB], patch_px=number(16), max_tokens=number(4), pad_to=(number(8), number(2)), threads=number(1))
    assert packed["positions"].shape == (8, 2)
    assert ne.resize(RGB, (number(8), number(8))).shape == (8, 8, 3)
    assert ne.Policy.token_cap(number(64)) == ne.Policy.token_cap(64)
    limits = ne.PlanLimits(budgets=((number(8), number(2), number(8), number(0)),), streams=number(1))
    assert ne.plan_packs([number(3)], limits, deadlines_ms=np.float32(1e6)).late == ()
    asked = BuildRequest(backend="openvino", token_budgets=(number(64),), max_images=(number(4),))
    assert asked == BuildRequest(backend="openvino", token_budgets=(64,), max_images=(4,))
    assert {type(one) for one in (*asked.token_budgets, *asked.max_images)} == {int}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda bundle: ne.Session(bundle, device=3), "device is 3; expected a text"),
        (lambda bundle: ne.Session(bundle, device="cpus"), "device is 'cpus'; expected one of auto, cpu, gpu, npu"),
        (lambda bundle: ne.Session(bundle, engine=None), "engine is None; expected a text"),
        (lambda bundle: ne.Session(bundle, precision=b"fp32"), "precision is b'fp32'; expected a text"),
        (lambda bundle: ne.Session(bundle, overflow=True), "overflow is True; expected a text"),
        (lambda bundle: ne.Session(bundle, backend_dirs="/lib"), "backend_dirs is '/lib'; expected a list of folders"),
        (lambda bundle: ne.Session(bundle, options=["a"]), "options is of type list; expected names and values"),
        (lambda bundle: ne.Session(bundle, options={"shape_quantum": 1.5}), "options has 'shape_quantum': 1.5"),
        (lambda bundle: ne.Session(bundle, options={"shape_quantum": True}), "options has 'shape_quantum': True"),
        (lambda bundle: ne.Session(bundle, options={3: "a"}), "options has 3: 'a'"),
        (lambda bundle: ne.Session(bundle, options={"shape_quantums": 8}), "shape_quantums.*known: .*shape_quantum"),
        (lambda bundle: ne.resize(RGB, 8), r"size is 8; expected \(height_px, width_px\)"),
        (lambda bundle: ne.resize(RGB, (8, 8.0)), r"size is 8.0; expected \(height_px, width_px\)"),
        (lambda bundle: ne.pack([RGB], patch_px="16"), "patch_px is '16'; expected pixels"),
        (lambda bundle: ne.pack([RGB], max_tokens=2.5), "max_tokens is 2.5; expected a number of patches"),
        (lambda bundle: ne.pack([RGB], pad_to=8), r"pad_to is 8; expected \(T, N\)"),
        (lambda bundle: ne.plan([3], token_budget="64", max_images=2), "token_budget is '64'; expected a number"),
        (lambda bundle: ne.plan([3], token_budget=64, max_images=None), "max_images is None; expected a number"),
        (lambda bundle: ne.plan([3, RGB], token_budget=64, max_images=1), "token count of image 1 is .*choose gives"),
        (lambda bundle: choose(bundle, together="2"), "together is '2'; expected how many images"),
        (lambda bundle: choose(bundle, waiting_ms=None), "waiting_ms is None; expected milliseconds"),
        (lambda bundle: choose(bundle, max_tokens_per_image=1.5), "max_tokens_per_image is 1.5; expected"),
    ],
)
def test_an_option_of_another_kind_is_refused_with_found_and_expected(
    tiny_bundle: Path, call: Callable[[Path], object], said: str
) -> None:
    with pytest.raises(ne.InvalidInputError, match=f"(?s){said}"):
        call(tiny_bundle)


def choose(bundle: Path, **options: Any) -> list[ne.Choice]:
    engine = ne.load_manifest(bundle).engines[0].id
    return ne.choose(bundle, [(64, 64)], ne.Policy.native(), engine=engine, **options)


def test_options_of_a_backend_may_be_whole_numbers(tiny_bundle: Path) -> None:
    image = np.zeros((16, 48, 3), np.uint8)
    for value in (8, np.int64(8), "8"):
        with ne.Session(tiny_bundle, options={"shape_quantum": value}, precision="fp32") as session:
            session.run([image])
            assert session.last_report["packs"][0]["capacity"] == 8
    (choice,) = choose(tiny_bundle, waiting_ms=np.float32(1), together=np.int16(2), max_tokens_per_image=np.uint8(64))
    assert choice.tokens > 0


# --- slips on the command line


@pytest.mark.parametrize("command", ["run", "plan", "plan-budgets"])
def test_arguments_the_other_way_round_are_told_the_order(tiny_bundle: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    for first in (tmp_path / "a.png", tmp_path, tmp_path / "missing.png"):
        done = invoke(command, first, tiny_bundle)
        assert done.exit_code == 2
        expected = (
            f"the bundle comes first: navit-edge {command} {tiny_bundle} {first}; the first argument is no bundle"
        )
        assert unspaced(expected) in unspaced(done.stderr)


def unspaced(text: str) -> str:
    """Without spaces and the box, which cuts long paths."""
    return "".join(text.replace("│", " ").split())


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [
        ("google/siglip2-base-patch16-naflex", "google/siglip2-base-patch16-naflex"),
        ("https://huggingface.co/facebook/dinov2-small", "facebook/dinov2-small"),
    ],
)
def test_a_model_of_the_hub_is_told_how_to_get_it(tmp_path: Path, name: str, hub_id: str) -> None:
    done = invoke("export", "--checkpoint", name, "-o", tmp_path / "x.navit")
    assert invoke("up", name, "a.png").stderr == done.stderr
    folder = hub_id.partition("/")[2]
    assert done.exit_code == 1
    assert f"for the model of the Hugging Face Hub give hf:{hub_id}, or download it first" in done.stderr
    assert f"hf download {hub_id} --local-dir {folder}, then give {folder} as the checkpoint" in done.stderr


def test_a_checkpoint_that_is_missing_is_no_model_of_the_hub(tmp_path: Path) -> None:
    for name in (tmp_path / "x" / "y", "weights/model.safetensors", "model.pt"):
        done = invoke("export", "--checkpoint", name, "-o", tmp_path / "x.navit")
        assert done.exit_code == 1
        assert f"there is no checkpoint {name}; expected a file or a folder; check the path" in done.stderr


DEADLINES_MS = (5e-324, 1e-308, 1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e12, 1e18, 1e300, sys.float_info.max)


def test_every_deadline_above_zero_is_one_and_locks_nothing_up(tiny_bundle: Path) -> None:
    program = (
        "import sys\nimport numpy as np\nimport navit_edge as ne\n"
        "session = ne.Session(sys.argv[1], precision='fp32', threads=1)\n"
        "image = np.zeros((48, 64, 3), np.uint8)\n"
        "deadlines = [float(text) for text in sys.argv[2:]]\n"
        "futures = [session.submit(image, deadline_ms=ms) for ms in deadlines for _ in range(2)]\n"
        "futures += [session.submit(image, deadline_ms=np.float32(1e-9))]\n"
        "print(sum(future.result(60).error is None for future in futures))\n"
    )
    done = subprocess.run(  # a process of its own: what is locked up cannot be ended otherwise
        [sys.executable, "-c", program, str(tiny_bundle), *map(repr, DEADLINES_MS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (str(2 * len(DEADLINES_MS) + 1), "")


@pytest.mark.parametrize(
    "timeout", [math.inf, 1e300, sys.float_info.max, 2**63, 10**400], ids=lambda one: f"{len(str(one))} digits"
)
def test_a_timeout_that_no_clock_can_count_is_none(tiny_session: ne.Session, timeout: float) -> None:
    assert tiny_session.submit(RGB).result(timeout).error is None


@pytest.mark.parametrize("timeout", ["1", math.nan, True, [1]])
def test_a_timeout_that_is_no_number_is_refused(tiny_session: ne.Session, timeout: Any) -> None:
    future = tiny_session.submit(RGB)
    with pytest.raises(ne.InvalidInputError, match=r"timeout is .*; expected seconds"):
        future.result(timeout)
    assert future.result(60).error is None


@pytest.mark.parametrize("field", ["warmup_ms", "duration_s"])
@pytest.mark.parametrize("value", [math.inf, math.nan, 1e300, -1.0])
def test_a_measurement_ends(field: str, value: float) -> None:
    with pytest.raises(ne.InvalidInputError, match="expected 0 and up"):
        BenchOptions(**{field: value})
