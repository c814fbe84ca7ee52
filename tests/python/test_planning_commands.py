"""plan, plan-budgets, bench --calibrate, run --overflow; and overflow in Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from command_line import invoke
from PIL import Image

import navit_edge as ne
from navit_edge import compile as build_package
from navit_edge.bench.calibration import calibrate, shapes_of
from navit_edge.bundle import edit
from navit_edge.bundle.manifest import Budget, BudgetCost, Cost, Engine, Sizing
from navit_edge.bundle.manifest import save as save_manifest
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge_export.sizing import target_grid


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(built, tmp_path / "copy.navit"))


def change_engine(bundle: Path, **fields: object) -> Engine:
    manifest = ne.load_manifest(bundle)
    engine = msgspec.structs.replace(manifest.engines[0], **fields)
    save_manifest(msgspec.structs.replace(manifest, engines=(engine,)), bundle)
    return engine


def pixels(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# --- plan


def test_plan_shows_the_packs_that_the_session_then_makes(built: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(20):
        height, width = rng.integers(4, 90, 2).tolist()
        Image.fromarray(pixels(height, width)).save(tmp_path / f"{index:02}.png")
    result = invoke("plan", built, tmp_path, "--json", "--plot", tmp_path / "packs.png")
    assert result.exit_code == 0, result.stderr
    planned = json.loads(result.stdout)
    session = ne.Session(built)
    files = sorted(tmp_path.glob("[0-9]*.png"))
    results = session.run(files)
    made = [sorted(i for i, one in enumerate(results) if one.pack == number) for number in range(len(planned["packs"]))]
    assert [sorted(pack["indices"]) for pack in planned["packs"]] == made
    assert planned["tokens"] == sum(one.token_count for one in results)
    assert planned["predicted_ms"] * 1e3 == pytest.approx(session.last_report["predicted_us"])
    picture = np.asarray(Image.open(tmp_path / "packs.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("policy", ["fast", "latency:1ms,min_tokens=4", "content:min_tokens=4,max_tokens=100"])
def test_plan_under_a_policy_shows_what_the_session_then_chooses(built: Path, tmp_path: Path, policy: str) -> None:
    for index, (height, width) in enumerate([(80, 80), (90, 40), (16, 16)]):
        Image.fromarray(pixels(height, width)).save(tmp_path / f"{index}.png")
    result = invoke("plan", built, tmp_path, "--policy", policy, "--json")
    assert result.exit_code == 0, result.stderr
    planned = json.loads(result.stdout)
    results = ne.Session(built).run(sorted(tmp_path.glob("*.png")), policy=ne.Policy.parse(policy))
    assert planned["policy"].startswith(policy)
    if policy.startswith("latency"):  # the session counts what decoding and what came before took
        for one, result in zip(planned["choices"], results, strict=True):
            assert one["grid"][0] * one["grid"][1] >= result.grid[0] * result.grid[1]
    else:
        assert [(tuple(one["grid"]), one["reason"]) for one in planned["choices"]] == [
            (one.grid, one.reason) for one in results
        ]
    assert any(one.reason for one in results)
    table = " ".join(invoke("plan", built, tmp_path, "--policy", policy).stdout.split())
    rows, columns = planned["choices"][0]["grid"]
    assert f"{rows} × {columns}" in table


def test_plan_takes_a_histogram_and_names_what_is_late(built: Path, tmp_path: Path) -> None:
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("height,width,count\n# thumbnails\n16,16,5\n64,60,2\n")
    result = invoke("plan", built, "--sizes", sizes, "--deadline", "0.001", "--json")
    planned = json.loads(result.stdout)
    assert planned["images"] == 7
    assert planned["tokens"] == 5 * 16 + 2 * 240
    assert [one["index"] for one in planned["late"]] == list(range(7))
    table = invoke("plan", built, "--sizes", sizes, "--strategy", "fifo").stdout
    assert "7 images, 560 tokens in 1 packs" in table
    assert "packed by fifo" in table


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "neither images nor --sizes"),
        (("--sizes", "{bad}"), 1, "line 2: '16,0'; expected lines height,width"),
        (("--sizes", "{good}", "--strategy", "best"), 2, "known: auto, fifo"),
        (("--sizes", "{good}", "--engine", "none"), 1, "has no engine 'none'; it has openvino-cpu-fp32"),
        (("--sizes", "{good}", "--plot", "packs.gif"), 1, "ends in .png"),
        (("{missing}",), 1, "none of 1 files is an image"),
        (("--sizes", "{good}", "--policy", "slow"), 1, 'policy "slow": unknown; expected native, token-cap:256, fast'),
        (("--sizes", "{good}", "--policy", "content"), 1, "needs pixels; give images instead of --sizes"),
    ],
)
def test_wrong_input_of_plan_is_named(
    built: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "bad").write_text("16,16\n16,0\n")
    (tmp_path / "good").write_text("16,16\n")
    names = {name: str(tmp_path / name) for name in ("bad", "good", "missing")}
    result = invoke("plan", built, *(argument.format(**names) for argument in arguments))
    assert result.exit_code == code
    assert message in " ".join(result.stderr.replace("│", " ").split())


# --- plan-budgets


def test_plan_budgets_prints_a_command_that_build_engine_takes(bundle: Path, tmp_path: Path) -> None:
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("16,16,50\n40,48,30\n64,60,10\n")
    result = invoke("plan-budgets", bundle, "--sizes", sizes, "-k", "2", "--max-token-budget", "1024", "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    chosen = content["chosen"]
    assert len(chosen["tokens"]) <= 2
    words = content["command"].split()
    assert words[:3] == ["navit-edge", "build-engine", str(bundle)]
    request = build_package.BuildRequest(
        backend=words[words.index("--backend") + 1],
        token_budgets=tuple(int(one) for one in words[words.index("--token-budgets") + 1].split(",")),
        max_images=tuple(int(one) for one in words[words.index("--max-images") + 1].split(",")),
    )
    assert list(request.token_budgets) == chosen["tokens"]
    table = invoke("plan-budgets", bundle, "--sizes", sizes, "-k", "2", "--max-token-budget", "1024")
    assert "best 2 powers of two" in table.stdout
    assert "against\n" in table.stdout
    small = invoke("plan-budgets", bundle, "--sizes", sizes, "--max-token-budget", "128")
    assert small.exit_code == 1
    assert "an image has 240 tokens and no budget may be above 128; raise --max-token-budget" in small.stderr


# --- the measured cost model


def test_calibration_measures_stores_and_changes_what_is_predicted(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("navit_edge.bench.calibration.SECONDS", 0.5)
    before = ne.load_manifest(bundle).engines[0]
    assert before.cost is None
    result = invoke("bench", bundle, "--calibrate", "--json-file", tmp_path / "c.json")
    assert result.exit_code == 0, result.stderr
    cost = ne.load_manifest(bundle).engines[0].cost
    assert cost is not None
    content = json.loads((tmp_path / "c.json").read_text())
    assert len(content["packs"]) == cost.packs >= 8
    assert "R²" in result.stdout
    assert "residual" in result.stdout
    measured = np.array([pack["measured_us"] for pack in content["packs"]])
    predicted = np.array([pack["predicted_us"] for pack in content["packs"]])
    assert cost.mean_error == pytest.approx(np.mean(np.abs(predicted - measured) / measured))
    spread = np.sum((measured - measured.mean()) ** 2)
    assert cost.r_squared == pytest.approx(1 - np.sum((predicted - measured) ** 2) / spread)
    session = ne.Session(bundle)
    session.run([pixels(64, 64)])
    report = session.last_report
    assert report["cost_measured"]
    (one,) = cost.budgets
    assert report["packs"][0]["predicted_us"] == pytest.approx(
        one.fixed_us + one.us_per_token * 256 + one.us_per_score * 256**2
    )
    assert ne.CostModel.of(bundle, before.id).measured
    shown = invoke("bench", bundle, "--iterations", "1", "--duration", "0", "--warmup", "0")
    assert "predicted by the cost model (measured by --calibrate)" in " ".join(shown.stdout.split())


def test_an_engine_of_fixed_budgets_is_calibrated_budget_by_budget(bundle: Path) -> None:
    engine = change_engine(
        bundle,
        dynamic_tokens=False,
        strategy="first-fit-decreasing",
        budgets=tuple(Budget(tokens=t, images=16, target_tokens=t) for t in (128, 512)),
    )
    manifest = ne.load_manifest(bundle)
    for index, (below, most) in enumerate(((0, 128), (128, 512))):
        for grids in shapes_of(manifest, engine, index):
            assert below < sum(rows * cols for rows, cols in grids) <= most
    session = ne.Session(bundle, strategy="first-fit-decreasing")
    found = calibrate(manifest, session, "segments", threads=2, rounds=2, seconds=0)
    assert {pack.tokens for pack in found.packs} == {128, 512}
    assert len(found.cost.budgets) == 2
    assert all(one.us_per_token == 0 for one in found.cost.budgets)
    edit.set_cost(bundle, engine.id, found.cost, budgets=engine.budgets)
    assert ne.load_manifest(bundle).engines[0].cost == found.cost
    with pytest.raises(BundleError, match="has other budgets since it was measured"):
        edit.set_cost(bundle, engine.id, found.cost, budgets=engine.budgets[:1])
    with pytest.raises(BundleError, match="is gone since it was measured"):
        edit.set_cost(bundle, "other", found.cost, budgets=engine.budgets)


@pytest.mark.parametrize(
    "sizing",
    [
        Sizing(rule="naflex", max_tokens=256),
        Sizing(rule="token-cap", max_tokens=256, upscale=True),
        Sizing(rule="smart-resize", merge=2, min_pixels=64 * 16, max_pixels=256 * 16),
        Sizing(rule="fixed", height_px=64, width_px=64),
    ],
    ids=lambda sizing: sizing.rule,
)
def test_an_engine_is_calibrated_under_rules_that_make_small_images_large(bundle: Path, sizing: Sizing) -> None:
    manifest = ne.load_manifest(bundle)
    manifest = msgspec.structs.replace(manifest, preprocess=msgspec.structs.replace(manifest.preprocess, sizing=sizing))
    save_manifest(manifest, bundle)
    session = ne.Session(bundle, strategy=manifest.engines[0].strategy)
    found = calibrate(manifest, session, "segments", threads=2, rounds=2, seconds=0)
    assert len(found.packs) >= 3
    assert len({pack.tokens for pack in found.packs}) >= 3
    assert all(pack.images * pack.longest <= pack.tokens for pack in found.packs), "the tokens that the images got"
    if sizing.rule != "fixed":
        assert len({pack.longest for pack in found.packs}) >= 3, "by caps"


def test_a_cost_that_does_not_fit_its_engine_is_refused(bundle: Path) -> None:
    cost = Cost(
        budgets=(BudgetCost(fixed_us=1.0, us_per_token=1.0, us_per_score=0.0),) * 2,
        packs=3, r_squared=1.0, mean_error=0.0, threads=2, device="d",
    )  # fmt: skip
    with pytest.raises(BundleError, match="as many entries as the engine has budgets"):
        change_engine(bundle, cost=cost)
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["engines"][0]["cost"] = msgspec.to_builtins(cost)
    path.write_text(json.dumps(content))
    with pytest.raises(ne.BundleError, match="as many entries as the engine has budgets"):
        ne.Session(bundle)
    content["engines"][0]["cost"]["budgets"] = [{"fixed_us": -1, "us_per_token": 0, "us_per_score": 0}]
    path.write_text(json.dumps(content))
    with pytest.raises(ne.BundleError, match="0 and up"):
        ne.Session(bundle)


# --- overflow


@pytest.fixture
def small(bundle: Path) -> Path:
    """Budgets of at most 100 tokens, and no cap on images."""
    change_engine(bundle, budgets=(Budget(tokens=100, images=16, target_tokens=100),))
    manifest = ne.load_manifest(bundle)
    preprocess = msgspec.structs.replace(manifest.preprocess, sizing=Sizing(rule="native"))
    save_manifest(msgspec.structs.replace(manifest, preprocess=preprocess), bundle)
    return bundle


def test_an_image_above_every_budget_fails_alone_unless_it_may_be_scaled_down(small: Path) -> None:
    images = [pixels(40, 40), pixels(80, 60), pixels(8, 8)]
    results = ne.Session(small).run(images, on_error="return")
    assert [one.error is None for one in results] == [True, False, True]
    assert isinstance(results[1].error, ne.OverBudgetError)
    assert 'set overflow="downscale"' in str(results[1].error)

    results = ne.Session(small, overflow="downscale").run(images)
    assert (results[1].grid, results[1].scale) == ((11, 9), (11 * 4 / 80, 9 * 4 / 60))
    assert [one.reason for one in results[::2]] == ["", ""]
    assert results[1].reason == (
        "needs 300 tokens (20 x 15 patches); the engine takes 100; scaled down to 11 x 9 patches"
    )
    assert results[1].grid == (11, 9)
    shrunk = np.asarray(Image.fromarray(images[1]).resize((9 * 4, 11 * 4), Image.Resampling.BILINEAR))
    alone = ne.Session(small).run([shrunk])[0]
    assert alone.logits is not None
    assert results[1].logits is not None
    np.testing.assert_allclose(results[1].logits, alone.logits, atol=1e-4)


def test_an_image_is_scaled_down_to_the_largest_grid_that_fits(small: Path) -> None:
    session = ne.Session(small, overflow="downscale")
    for seed in range(30):
        height, width = np.random.default_rng(seed).integers(44, 400, 2).tolist()
        (result,) = session.run([pixels(height, width)])
        rows, cols = result.grid
        assert (rows, cols) == target_grid(height, width, patch_px=4, sizing=Sizing(rule="token-cap", max_tokens=100))
        assert rows * cols <= 100


def test_split_is_refused_with_the_reason_and_unknown_policies_are_named(small: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"not possible for the model .* attends to every other token"):
        ne.Session(small, overflow="split")
    with pytest.raises(InvalidInputError, match="expected one of error, downscale"):
        ne.Session(small, overflow="crop")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="expected one of auto, fifo"):
        ne.Session(small, strategy="best")  # type: ignore[arg-type]


def test_run_says_which_images_it_scaled_down(small: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels(80, 60)).save(tmp_path / "large.png")
    assert invoke("run", small, tmp_path / "large.png").exit_code == 1
    result = invoke("run", small, tmp_path / "large.png", "--overflow", "downscale", "--json")
    assert result.exit_code == 0, result.stderr
    assert "scaled down to 11 x 9 patches" in " ".join(result.stderr.split())
    record = json.loads(result.stdout)
    assert record["scale"] == [11 * 4 / 80, 9 * 4 / 60]
    assert "needs 300 tokens" in record["reason"]
    refused = invoke("run", small, tmp_path / "large.png", "--overflow", "split")
    assert refused.exit_code == 1
    assert "split" in refused.stderr
