"""The search on a machine that is made up, with its own clock: what is found, in which time, and what a killed search
does when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tune_cases import ENGINES, POLICIES, MadeUpMachine, all_setups, quality_of, search, setup

from navit_edge.errors import BackendError, InvalidInputError
from navit_edge.profile.schema import Accuracy, Trial
from navit_edge.tune.journal import TuneJournal
from navit_edge.tune.recommend import recommend
from navit_edge.tune.search import Step, What
from navit_edge.tune.space import TuneRequest, policies
from navit_edge.tune.trial import Answer
from navit_edge.vocabulary import USES


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_every_engine_is_measured_with_the_threads_that_are_best_for_it(noise: float) -> None:
    machine = MadeUpMachine(noise=noise)
    found = search(machine).run()
    assert {one.setup.engine for one in found.trials} == set(ENGINES)
    for engine in ENGINES:
        least = min(machine.true_ms(one, "native") for one in all_setups() if one.engine == engine)
        chosen = next(one.setup for one in found.trials if one.setup.engine == engine)
        assert machine.true_ms(chosen, "native") <= least * 1.12
    assert {one.policy for one in found.trials} == set(POLICIES)
    assert found.complete


def test_the_search_takes_a_fraction_of_the_grid_and_recommends_as_the_grid_would() -> None:
    machine = MadeUpMachine()
    found = search(machine, TuneRequest(aim="latency", target_ms=20)).run()
    measurements = len(found.searched) + len(found.trials)
    assert measurements <= 0.5 * len(all_setups()) * len(POLICIES)
    chosen = found.trials[recommend(found).best.trial]
    within = [(one, policy) for one in all_setups() for policy in POLICIES if machine.true_ms(one, policy) <= 20]
    best = max(quality_of(policy, one.precision) for one, policy in within)
    assert quality_of(chosen.policy, chosen.setup.precision) == best
    assert chosen.p90_ms <= 20


@pytest.mark.parametrize("minutes", [0.2, 1.0, 10.0])
def test_it_ends_by_its_deadline_with_what_it_has(minutes: float) -> None:
    machine = MadeUpMachine(opening_s=2)
    steps: list[Step] = []
    found = search(machine, TuneRequest(minutes=minutes, aim="latency"), on_step=steps.append).run()
    assert machine.seconds <= minutes * 60 + 2 * machine.opening_s + 1
    assert found.trials
    recommend(found)
    assert found.complete == (minutes == 10.0)
    assert all(step.of_seconds == minutes * 60 for step in steps)


def test_an_engine_that_does_not_open_is_named_and_the_others_are_tuned() -> None:
    found = search(MadeUpMachine(broken=(ENGINES[0],))).run()
    assert found.reference == ENGINES[1]
    assert ENGINES[0] in found.not_run
    assert {one.setup.engine for one in found.trials} == set(ENGINES[1:])
    with pytest.raises(BackendError, match="does not open"):
        search(MadeUpMachine(broken=ENGINES)).run()


def test_what_takes_more_memory_than_allowed_is_not_recommended() -> None:
    found = search(MadeUpMachine(), TuneRequest(memory_bytes=150 << 20)).run()
    advice = recommend(found)
    assert all(found.trials[advice.of(use).trial].setup.precision != "fp32" for use in USES)
    with pytest.raises(InvalidInputError, match="the smallest takes 120 MiB"):
        search(MadeUpMachine(), TuneRequest(memory_bytes=1 << 20)).run()


def test_labels_are_used_for_what_is_on_the_front_first_and_as_long_as_there_is_time() -> None:
    machine = MadeUpMachine()
    asked: list[tuple[Trial, int]] = []

    def judge(one: Trial, count: int) -> Accuracy | None:
        asked.append((one, count))
        machine.seconds += 4 * count / one.images_per_s  # slower than it was foreseen
        return Accuracy(value=0.5, low=0.4, high=0.6, images=count)

    found = search(machine, TuneRequest(minutes=5, aim="latency"), judge=judge).run()
    assert found.quality == "top1"
    assert not found.complete
    without = search(MadeUpMachine(), TuneRequest(minutes=5, aim="latency")).run()
    front = {without.trials[place].policy for place in recommend(without).front}
    assert asked[0][0].policy in front
    assert sum(one.top1 is not None for one in found.trials) == len(asked) < len(found.trials)
    assert len({count for _, count in asked}) == 1
    slowest = max(4 * count / one.images_per_s for one, count in asked)
    assert machine.seconds <= 300 + slowest


def test_without_time_for_labels_agreement_is_what_counts() -> None:
    found = search(MadeUpMachine(), TuneRequest(aim="latency"), judge=lambda trial, count: None).run()
    assert found.quality == "agreement"
    assert not found.complete


class KilledError(Exception):
    pass


def with_journal(machine: MadeUpMachine, journal: TuneJournal, *, most: int = 10**6) -> list[What]:
    """Searches, and is killed after ``most`` measurements; what was measured now."""
    measured_now: list[What] = []

    def measure(what: What, seconds: float, limit_s: float = 1e9) -> Answer:
        known = journal.known(what)
        if known is not None:
            return known[0]
        if len(measured_now) == most:
            raise KilledError
        measured_now.append(what)
        answer = machine.measure(what, seconds)
        journal.add(what, answer, seconds)
        return answer

    search(machine, measure=measure).run()
    return measured_now


def test_a_killed_tuning_goes_on_and_measures_nothing_twice(tmp_path: Path) -> None:
    whole = MadeUpMachine(noise=0.02)
    found = search(whole).run()
    job = {"model": "m"}
    folder = tmp_path / "p.json.tuning"
    journal = TuneJournal(folder, job, resume=False, overwrite=False)
    with pytest.raises(KilledError):
        with_journal(MadeUpMachine(noise=0.02), journal, most=17)
    journal.close()
    with (folder / "measured.jsonl").open("ab") as file:
        file.write(b'{"key": "half a li')  # the process died while it wrote
    machine = MadeUpMachine(noise=0.02)
    again = TuneJournal(folder, job, resume=True, overwrite=False)
    assert again.count == 17
    with_journal(machine, again)
    assert len(machine.asked) == len(whole.asked) - 17
    assert again.count == len(whole.asked)
    assert search(whole, measure=lambda what, seconds, limit_s: again.known(what)[0]).run().trials == found.trials  # type: ignore[index]
    again.finish()
    assert not folder.exists()


def test_measurements_of_another_tuning_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "p.json.tuning"
    journal = TuneJournal(folder, {"model": "m"}, resume=False, overwrite=False)
    journal.add("x", Answer(error="no"), 1.0)
    journal.close()
    with pytest.raises(InvalidInputError, match="--resume goes on"):
        TuneJournal(folder, {"model": "m"}, resume=False, overwrite=False)
    with pytest.raises(InvalidInputError, match="model was m and is n"):
        TuneJournal(folder, {"model": "n"}, resume=True, overwrite=False)
    fresh = TuneJournal(folder, {"model": "n"}, resume=False, overwrite=True)
    assert fresh.count == 0
    fresh.close()


def test_policies_are_token_caps_below_the_largest_image_and_then_those_without_one() -> None:
    assert policies(300, TuneRequest(target_ms=50), resizes=True)[:4] == [
        "token-cap:64",
        "token-cap:128",
        "token-cap:256",
        "native",
    ]
    assert any(text.startswith("latency:50") for text in policies(300, TuneRequest(target_ms=50), resizes=True))
    assert policies(300, TuneRequest(tokens=(100, 999)), resizes=True)[0] == "token-cap:100"
    assert policies(300, TuneRequest(), resizes=False) == ["native"]
    cascades = [[one for one in policies(300, TuneRequest(), resizes=True, classes=had) if one.startswith("cascade")]
                for had in (False, True)]  # fmt: skip
    assert [len(found) for found in cascades] == [0, 1]


def test_the_same_setup_is_asked_for_by_its_defaults_first() -> None:
    machine = MadeUpMachine()
    search(machine).run()
    assert [what.setup for what in machine.asked if what.stage == "setup"][:3] == [setup(name) for name in ENGINES]
