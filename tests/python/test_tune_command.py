"""`navit-edge tune` from images to a profile that sessions and commands run, on a bundle of one layer."""

from __future__ import annotations

import asyncio
import getpass
import json
import platform
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from command_line import invoke, words
from evaluate_cases import bundle as bundle  # a fixture
from evaluate_cases import data as data  # a fixture
from PIL import Image
from tune_cases import figures_of, setup

import navit_edge as ne
from navit_edge.errors import InvalidInputError
from navit_edge.profile import Profile, read_profile
from navit_edge.tune import TuneRequest, recommend, tune
from navit_edge.tune.share import Shared
from navit_edge.tune.trial import Answer, Ask, ask_a_process
from navit_edge.vocabulary import USES

SECRET = "Frau-Holles-Garten"


@pytest.fixture(scope="module")
def tuned(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Path]:
    """One real tuning, with labels, of one setup and two policies, as short as one can be, whose time is never up;
    (profile, folder)."""
    folder = tmp_path_factory.mktemp(SECRET)
    images = folder / "images"
    images.mkdir()
    for place in range(4):
        pixels = np.random.default_rng(place).integers(0, 256, (64 + 8 * place, 64, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{SECRET}-{place}.png")
    arguments = ["--threads", "0", "--slots", "0", "--tokens", "64", "--policy", "native", "--minutes", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("navit_edge.tune.tune", partial(tune, clock=lambda: 0.0))
        result = invoke(
            "tune", bundle, "--images", images, "--labels", data, *arguments,
            "-o", folder / "profile.json", "--share", folder / "shared.json",
        )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "look at it before you send it" in result.stderr
    for use in USES:
        assert use in result.stdout
    return read_profile(folder / "profile.json"), folder


def test_a_profile_holds_what_was_measured_and_what_follows_from_it(tuned: tuple[Profile, Path], data: Path) -> None:
    profile, folder = tuned
    table = profile.measured
    assert {one.policy for one in table.trials} == {"token-cap:64", "native"}
    assert table.reference == "openvino-cpu-fp32"
    assert table.quality == "top1"
    native = next(one for one in table.trials if one.policy == "native")
    assert native.agreement == 1.0
    assert native.top1 is not None
    assert native.top1.images <= 40
    assert native.tokens_per_image == np.mean([count for count, times in table.tokens for _ in range(times)])
    assert [one.images for one in table.together] == [1, 2, 4, 8, 16, 32]
    assert recommend(table) == profile.advice
    assert not (folder / "profile.json.tuning").exists()


def test_sessions_and_commands_run_what_the_profile_says(
    tuned: tuple[Profile, Path], bundle: Path, tmp_path: Path
) -> None:
    profile, folder = tuned
    path = folder / "profile.json"
    images = sorted((folder / "images").iterdir())
    with ne.Session(bundle, profile=path, use="fast") as session:
        by_session = [result.token_count for result in session.run(images)]
    oracle_policy = ne.Policy.parse(profile.trial("fast").policy)
    with ne.Session(bundle, policy=oracle_policy) as session:
        assert [result.token_count for result in session.run(images)] == by_session
    out = tmp_path / "rows.jsonl"
    ran = invoke("run", bundle, folder / "images", "--profile", path, "--use", "fast", "-o", out, "-q")
    assert ran.exit_code == 0, ran.stderr
    assert [json.loads(line)["tokens"] for line in out.read_text().splitlines()] == by_session
    benched = invoke("bench", bundle, "--profile", path, "--token-budgets", "64", "--duration", "0",
                     "--iterations", "1", "--warmup", "0", "--json")  # fmt: skip
    assert benched.exit_code == 0, benched.stderr
    assert invoke("run", bundle, folder / "images", "--use", "fast").exit_code == 2
    two = invoke("serve", bundle, bundle, "--profile", path)
    assert "it is for one bundle, and 2 are served" in words(two.stderr)


def test_serve_opens_its_bundle_as_the_profile_says(
    tuned: tuple[Profile, Path], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    from navit_edge.serve import server

    profile, folder = tuned
    images = sorted((folder / "images").iterdir())
    counts: list[int] = []

    async def load(make: Callable[[], server.Server]) -> None:
        (model,) = make().service.repository.models.values()
        await model.load()
        assert model.session is not None
        assert model.session.engine == profile.trial("fast").setup.engine
        counts.extend(result.token_count for result in model.session.run(images))
        await model.unload()

    monkeypatch.setattr(server, "run", lambda make, *_: asyncio.run(load(make)))
    served = invoke("serve", bundle, "--profile", folder / "profile.json", "--use", "fast", "--http", "127.0.0.1:0")
    assert served.exit_code == 0, served.stderr
    with ne.Session(bundle, policy=ne.Policy.parse(profile.trial("fast").policy)) as session:
        assert [result.token_count for result in session.run(images)] == counts


def test_what_can_be_sent_names_nobody_and_no_file(tuned: tuple[Profile, Path], bundle: Path) -> None:
    profile, folder = tuned
    text = (folder / "shared.json").read_text()
    shared = msgspec.json.decode(text, type=Shared)
    assert len(shared.trials) == len(profile.measured.trials)
    assert shared.model.width == ne.load_manifest(bundle).model.width
    private = [
        SECRET, str(folder), str(bundle), bundle.stem + ".navit", profile.bundle.model, profile.measured.reference,
        profile.measured.engines[0].sha256, platform.release(), str(Path.home()) + "/",
    ]  # fmt: skip
    private += [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 4]
    for name in private:
        assert name not in text, name
    assert "/" not in text.replace("images/s", "")


def fake(ask: Ask) -> Answer:
    rates = tuple((count, 10.0) for count in ask.together)
    figures = tuple(figures_of(policy, 10.0, ask.setup) for policy in ask.policies)
    return Answer(device="made up", figures=figures, together=rates)


def test_a_tuning_that_was_interrupted_goes_on_where_it_was(bundle: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "profile.json"
    asked: list[Ask] = []

    def killed(after: int) -> Callable[[Ask], Answer]:
        def ask(one: Ask) -> Answer:
            if len(asked) == after:
                raise KeyboardInterrupt
            asked.append(one)
            return fake(one)

        return ask

    request = TuneRequest(images=4)
    with pytest.raises(KeyboardInterrupt):
        tune(bundle, data, output, request, ask=killed(3))
    with pytest.raises(InvalidInputError, match="--resume goes on"):
        tune(bundle, data, output, request, ask=fake)
    profile = tune(bundle, data, output, request, resume=True, ask=killed(1000))
    keys = [(one.setup, one.policies, one.together, one.seconds) for one in asked if not one.make_reference]
    assert len(keys) == len(set(keys))
    assert read_profile(output) == profile
    with pytest.raises(InvalidInputError, match="--overwrite replaces it"):
        tune(bundle, data, output, request, ask=fake)
    tune(bundle, data, output, request, overwrite=True, ask=fake)


def test_an_engine_that_crashes_is_an_answer(bundle: Path) -> None:
    ask = Ask(
        bundle=str(bundle / "not there"),
        images=(),
        setup=setup("no such"),
        policies=("native",),
        seconds=0.1,
    )
    assert "not there" in ask_a_process(ask).error


def test_wrong_arguments_are_refused_before_anything_is_measured(bundle: Path, data: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ([], "--images: it is missing"),
        (["--images", data, "--minutes", "0"], "minutes is 0"),
        (["--images", data, "--memory", "much"], "expected a size"),
        (["--images", data, "--resume", "--overwrite"], "both are given"),
        (["--images", data, "--policy", "slow"], "slow"),
        (["--images", tmp_path / "none"], "there is none"),
        (["--images", data, "--engine", "no-such"], "no engine 'no-such'"),
    ):
        result = invoke("tune", bundle, *arguments, "-o", tmp_path / "p.json")
        assert result.exit_code in (1, 2)
        assert said in words(result.stderr), result.stderr
    assert list(tmp_path.iterdir()) == []
