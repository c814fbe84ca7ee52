"""Profiles: read strictly, applied to a session, and said to be of another machine or bundle if they are."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command_line import invoke, words
from tune_cases import ENGINES, made_profile, setup

import navit_edge as ne
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.machine.power import Power
from navit_edge.profile import Machine, Profile, apply_profile, differences, read_profile, this_machine
from navit_edge.profile.presets import PRESETS
from navit_edge.profile.schema import BundleFacts, profile_bytes
from navit_edge.tune import recommend

ENGINE = ENGINES[0]


@pytest.fixture(scope="module")
def here() -> Machine:
    return this_machine(gpu=False)


@pytest.fixture(scope="module")
def made(job_bundle: Path, here: Machine) -> Profile:
    return made_profile(job_bundle, here)


@pytest.fixture(scope="module")
def file(made: Profile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    path.write_bytes(profile_bytes(made))
    return path


def changed(made: Profile, place: str, value: object) -> bytes:
    """The profile with one field, "measured.trials.0.policy", of another value; None: without it."""
    content: dict[str, Any] = json.loads(profile_bytes(made))
    *way, last = place.split(".")
    inner: Any = content
    for name in way:
        inner = inner[int(name)] if isinstance(inner, list) else inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(content).encode()


def test_a_profile_is_read_as_it_was_written(made: Profile, file: Path) -> None:
    assert read_profile(file) == made
    assert recommend(read_profile(file).measured) == made.advice


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("schema_version", 99, "schema version 99; this version reads 1"),
        ("measured.trials.0.policy", "no such", "no such"),
        ("measured.trials.0.p90_ms", -1.0, "p90_ms"),
        ("measured.trials.0.setup.threads", 5000, "threads"),
        ("measured.aim", "comfort", "aim"),
        ("measured.trials", [], "trials"),
        ("machine.serial", "12345", "serial"),
        ("advice.best.trial", 3, "recommends trial 3 of 3"),
        ("advice.best", None, "best"),
        ("unknown", 1, "unknown"),
    ],
)
def test_what_is_not_a_profile_is_refused(made: Profile, tmp_path: Path, place: str, value: object, said: str) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(changed(made, place, value))
    with pytest.raises(BundleError, match=said):
        read_profile(path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with pytest.raises(BundleError, match="cannot be read"):
        read_profile(path)
    for content in (b"", b"[]", b"{", b'{"schema_version": 1, "schema_version": 1}', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(BundleError):
            read_profile(path)


def test_a_session_runs_as_the_profile_says_for_each_use(job_bundle: Path, file: Path) -> None:
    image = np.zeros((80, 80, 3), np.uint8)  # 400 patches, of which the bundle takes 256
    counts = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for use in ("fast", "balanced", "best"):
            with ne.Session(job_bundle, profile=file, use=use) as session:
                assert session.engine == ENGINE
                counts[use] = session.run([image])[0].token_count
        with ne.Session(job_bundle, profile=read_profile(file)) as session:
            assert session.run([image])[0].token_count == counts["balanced"]
            assert session.engine_report["threads"] == 1
    assert counts["fast"] <= 64 < counts["balanced"] <= 100 < counts["best"]


def test_what_is_given_explicitly_comes_before_the_profile(job_bundle: Path, file: Path) -> None:
    applied = apply_profile(file, job_bundle, "best", threads=3, slots=2, policy="fast")
    assert (applied.threads, applied.slots, applied.policy) == (3, 2, "fast")
    assert apply_profile(file, job_bundle, "best").engine == ENGINE
    assert apply_profile(file, job_bundle, "best").threads == 2
    for given in ({"precision": "fp32"}, {"device": "cpu"}, {"devices": ["cpu:0"]}):
        assert apply_profile(file, job_bundle, **given).engine == ""  # type: ignore[arg-type]
    assert apply_profile(file, job_bundle, engine="other").engine == "other"
    assert applied.max_memory == 0


def test_the_limit_of_memory_that_was_tuned_for_is_the_sessions(job_bundle: Path, made: Profile) -> None:
    limited = msgspec.structs.replace(made, measured=msgspec.structs.replace(made.measured, memory_limit_bytes=8 << 30))
    assert apply_profile(limited, job_bundle).max_memory == 8 << 30
    assert apply_profile(limited, job_bundle, max_memory=9 << 30).max_memory == 9 << 30
    with ne.Session(job_bundle, profile=limited) as session:
        assert session.engine_report["memory"]["max_bytes"] == 8 << 30


def test_another_machine_is_warned_of_with_what_differs(job_bundle: Path, made: Profile, here: Machine) -> None:
    other = msgspec.structs.replace(here, cores=here.cores + 6, cpu="another CPU")
    (said,) = apply_profile(made, job_bundle, here=other).warnings
    assert f"CPU was {here.cpu} and is another CPU" in said
    assert f"cores were {here.cores} and are {here.cores + 6}" in said
    moved = msgspec.structs.replace(made, machine=other)
    with pytest.warns(RuntimeWarning, match="made on another machine"):
        ne.Session(job_bundle, profile=moved).close()
    assert differences(here, here) == []


def test_another_bundle_and_an_engine_that_was_built_anew_are_warned_of(job_bundle: Path, made: Profile) -> None:
    other = msgspec.structs.replace(made, bundle=BundleFacts(name="other", model="0" * 64))
    (said,) = apply_profile(other, job_bundle).warnings
    assert "made for another bundle, other" in said
    facts = (msgspec.structs.replace(made.measured.engines[0], sha256="1" * 64),)
    table = msgspec.structs.replace(made.measured, engines=facts)
    (said,) = apply_profile(msgspec.structs.replace(made, measured=table), job_bundle).warnings
    assert "built anew since" in said


def test_an_engine_that_the_bundle_does_not_have_is_refused_with_the_remedy(job_bundle: Path, made: Profile) -> None:
    rows = tuple(msgspec.structs.replace(one, setup=setup("openvino-cpu-int8")) for one in made.measured.trials)
    table = msgspec.structs.replace(made.measured, trials=rows)
    with pytest.raises(BundleError, match=r"names the engine openvino-cpu-int8 for balanced, and .* build it with"):
        ne.Session(job_bundle, profile=msgspec.structs.replace(made, measured=table))


def test_a_use_without_a_profile_and_an_unknown_one_are_refused(job_bundle: Path, file: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no profile"):
        ne.Session(job_bundle, use="fast")
    with pytest.raises(InvalidInputError, match="expected one of fast, balanced, best"):
        ne.Session(job_bundle, profile=file, use="quick")  # type: ignore[arg-type]


# --- power


def test_a_power_mode_is_read_and_another_is_refused_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1\n")
    (tmp_path / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n")
    (tmp_path / "var/lib/nvpmodel").mkdir(parents=True)
    (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0000\n")
    power = Power.read(tmp_path)
    assert (power.source, power.mode) == ("nvpmodel", "15W")
    power.require("15W")
    with pytest.raises(InvalidInputError, match=r"in mode 15W, and tune changes none; set it: sudo nvpmodel -m 2$"):
        power.require("MAXN_SUPER")
    with pytest.raises(InvalidInputError, match="there is no such mode; there are 15W, MAXN_SUPER"):
        power.require("5W")


def test_a_governor_is_read_and_another_is_refused_with_the_command(tmp_path: Path) -> None:
    for core in range(2):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text("powersave\n")
        (folder / "scaling_available_governors").write_text("performance powersave\n")
    power = Power.read(tmp_path)
    assert (power.source, power.mode) == ("governor", "powersave")
    with pytest.raises(InvalidInputError, match="cpupower frequency-set --governor performance"):
        power.require("performance")
    with pytest.raises(InvalidInputError, match="says of no power mode"):
        Power.read(tmp_path / "empty").require("performance")


# --- the command


def test_presets_are_listed_as_not_measured_with_what_they_limit() -> None:
    names = {one.name for one in PRESETS}
    assert names == {"orin-nano-8gb", "orin-nx", "agx-orin", "thor", "rtx-laptop", "x86-2-cores", "arm-4-cores"}
    listed = invoke("profile", "list")
    assert listed.exit_code == 0
    for one in PRESETS:
        assert one.name in listed.stdout
        assert one.status == "not measured"
        shown = invoke("profile", "show", one.name)
        assert "not measured" in shown.stdout
        assert all(limit.split()[0] in shown.stdout for limit in one.limits)
        assert all(line in shown.stdout for line in one.commands())
    assert len(json.loads(invoke("profile", "list", "--json").stdout)["presets"]) == len(PRESETS)


def test_a_profile_is_shown_and_whether_its_recommendations_repeat(made: Profile, file: Path, tmp_path: Path) -> None:
    shown = invoke("profile", "show", file)
    assert shown.exit_code == 0
    assert "the recommendations repeat from the measurements" in words(shown.stdout)
    assert made.advice.best.reason in words(shown.stdout)
    edited = tmp_path / "edited.json"
    edited.write_bytes(changed(made, "advice.fast.trial", 0))
    assert "do not repeat" in words(invoke("profile", "show", edited).stdout)
    assert json.loads(invoke("profile", "show", edited, "--json").stdout)["advice_repeats"] is False


def test_a_name_that_is_no_preset_and_no_file_is_refused_with_the_names() -> None:
    result = invoke("profile", "show", "orin-nano")
    assert result.exit_code == 1
    assert "orin-nano-8gb" in result.stderr
    assert invoke("profile", "show").exit_code == 2
    assert invoke("profile", "list", "thor").exit_code == 2
