"""Cascades from Python: judged by single passes and by probabilities that NumPy computes of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.result import probabilities

FIRST = 9
Images = list[npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def images() -> Images:
    random = np.random.default_rng(16)
    sizes = [(64, 96), (96, 64), (80, 80), (16, 32), (128, 48), (96, 96), (112, 64), (64, 64)]
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.fixture(scope="module")
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32") as opened:
        yield opened


def score(result: ne.Result, by: str) -> float:
    best = np.sort(probabilities(result.logits))[::-1] if result.logits is not None else np.zeros(2)
    return float(best[0] - best[1] if by == "margin" else best[0])


@pytest.mark.parametrize("by", ["probability", "margin"])
def test_each_image_has_the_result_of_the_single_pass_that_its_score_says(
    session: ne.Session, images: Images, by: str
) -> None:
    # One by one, so that the bits do not depend on what else is in the pack.
    small = [session.run([image], policy=ne.Policy.token_cap(FIRST))[0] for image in images]
    native = [session.run([image])[0] for image in images]
    scores = [score(result, by) for result in small]
    policy = ne.Policy.cascade(FIRST, statistics.median(scores), by)
    before = session.metrics.stats()["cascade"]
    found = [session.run([image], policy=policy)[0] for image in images]
    submitted = [session.submit(image, policy=policy).result() for image in images]
    streamed = list(session.stream(iter(images[:3]), policy=policy))
    again = 0
    for place, result in enumerate(found):
        one = small[place].grid == native[place].grid
        accepted = scores[place] >= (policy.accept or 0)
        again += not one and not accepted
        expected = small[place] if accepted else native[place]
        for got in (result, submitted[place], *streamed[place : place + 1]):
            assert got.grid == expected.grid
            np.testing.assert_allclose(got.logits, expected.logits, rtol=1e-5, atol=1e-5)
            total = expected.token_count + (0 if one or accepted else small[place].token_count)
            assert (got.token_count, got.total_token_count) == (expected.token_count, total)
            words = "" if one else "accepted at" if accepted else "run again at"
            assert got.reason.startswith(words)
            assert bool(got.reason) == bool(words)
    assert 0 < again < len(images)
    after = session.metrics.stats()["cascade"]
    in_stream = sum(result.reason.startswith("run again") for result in streamed)
    assert after["again"] - before["again"] == 2 * again + in_stream
    assert after["kept"] == before["kept"]


def test_the_command_says_which_pass_gave_each_result(
    session: ne.Session, tiny_bundle: Path, images: Images, tmp_path: Path
) -> None:
    for place, image in enumerate(images[:2]):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    out = tmp_path / "out.jsonl"
    command = ["run", str(tiny_bundle), str(tmp_path / "0.png"), str(tmp_path / "1.png"), "--precision", "fp32"]
    ran = CliRunner().invoke(app, [*command, "--policy", f"cascade:{FIRST},1", "-o", str(out)])
    assert ran.exit_code == 0, ran.output
    for line, image in zip(out.read_text().splitlines(), images, strict=False):
        row = json.loads(line)
        (first,) = session.run([image], policy=ne.Policy.token_cap(FIRST))
        assert row["reason"].startswith("run again at")
        assert row["total_tokens"] == row["tokens"] + first.token_count
