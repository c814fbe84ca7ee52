"""The search itself: in which order what is measured, until time is up. Measuring, labels and the clock are handed in.

1. The reference: the answers of a float32 engine at all tokens.
2. Setups: engines x threads x slots with one policy, by successive halving; the best of each engine lasts.
3. Policies: the best setup of each engine with every token cap and policy; it is opened once for all of them.
4. With labels: the accuracy of what is on the Pareto front so far, then of the rest.
5. Images given at once, with what is recommended as balanced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from navit_edge.errors import BackendError, InvalidInputError
from navit_edge.profile.schema import (
    Accuracy,
    EngineFacts,
    Measured,
    Quality,
    Searched,
    Setup,
    Together,
    Trial,
)
from navit_edge.tune.halving import successive_halving
from navit_edge.tune.recommend import pareto_front, recommend
from navit_edge.tune.space import TuneRequest
from navit_edge.tune.trial import Answer

#: Shares of the time after which the search for setups, and the policies, begin nothing more.
SETUPS_UNTIL = 0.4
POLICIES_UNTIL = 0.7
#: Seconds of the first round, and of each policy, of a tuning of ten minutes; others in proportion.
ROUND_S = 0.4
POLICY_S = 3.0
TOGETHER_S = 1.0
#: Of the time that is left, what accuracy may take if decoding took nothing.
JUDGED = 0.4
_OPENING_S = 3.0  # until it is known how long a session takes to open here


class What(msgspec.Struct, frozen=True, kw_only=True):
    """Of one measurement: the same ``What`` has the same answer in a tuning that goes on."""

    stage: str
    round: int
    setup: Setup
    policies: tuple[str, ...]
    together: tuple[int, ...] = ()
    make_reference: bool = False


class Measure(Protocol):
    def __call__(self, what: What, seconds: float, limit_s: float) -> Answer:
        """Measures each policy for about so long, and begins none after the limit; never raises for what an engine
        does."""


#: The accuracy of a setup with a policy on so many labelled images; None: it cannot be had.
Judge = Callable[[Trial, int], Accuracy | None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Before each measurement. seconds: since the beginning, and in all at most."""

    words: str
    seconds: float
    of_seconds: float


@dataclass
class Search:
    """setups: the most ordinary first. references: whose answers the others are compared with: the first that runs.
    policies: ascending token caps, then others. tokens: as in ``Measured``. judge: None without labels."""

    request: TuneRequest
    setups: Sequence[Setup]
    references: Sequence[Setup]
    policies: Sequence[str]
    engines: Sequence[EngineFacts]
    tokens: tuple[tuple[int, int], ...]
    images: int
    measure: Measure
    clock: Callable[[], float]
    judge: Judge | None = None
    on_step: Callable[[Step], None] = lambda step: None
    _begin: float = 0.0
    _opening: float = _OPENING_S
    _complete: bool = True
    _searched: list[Searched] = field(default_factory=list)
    _trials: list[Trial] = field(default_factory=list)
    _not_run: dict[str, str] = field(default_factory=dict)

    def run(self) -> Measured:
        """Raises BackendError if no engine runs, and InvalidInputError if none stays within the memory."""
        self._begin = self.clock()
        reference, quality = self._reference()
        finalists = self._setups()
        for setup in finalists:
            self._policies(setup)
        if not self._trials:
            raise BackendError(f"nothing could be measured: {self._reasons()}")
        measured = self._measured(reference, quality, ())
        if self.judge is not None:
            measured = self._judged(measured, self.judge)
        measured = msgspec.structs.replace(measured, together=self._together(measured))
        return msgspec.structs.replace(measured, complete=self._complete, seconds=self._passed())

    # --- stages

    def _reference(self) -> tuple[str, Quality]:
        """Which engine it is, and by what answers are compared."""
        for setup in self.references:
            self._say(f"reference: {setup.engine}")
            what = What(stage="reference", round=0, setup=setup, policies=("native",), make_reference=True)
            answer = self._measure(what, self._policy_s)
            (one,) = answer.figures or (None,)
            if one is None or one.error:
                self._not_run[setup.engine] = answer.error or (one.error if one else "no answer")
                continue
            if one.agreement is None and one.similarity is None:
                raise InvalidInputError(
                    "the bundle gives neither logits nor an embedding, so that nothing says how good a setting is; "
                    "export it with --outputs logits or embedding"
                )
            return setup.engine, "agreement" if one.agreement is not None else "similarity"
        raise BackendError(f"no engine of the bundle runs here, so there is nothing to tune: {self._reasons()}")

    def _setups(self) -> list[Setup]:
        """The best of each engine, the best engine first."""
        policy = self._middle_policy()
        candidates = [setup for setup in self.setups if setup.engine not in self._not_run]
        if len({setup.engine for setup in candidates}) == len(candidates):
            return candidates  # one of each: nothing to choose

        def measure(setup: Setup, number: int, seconds: float) -> float | None:
            if setup.engine in self._not_run:
                return None
            self._say(f"setups, round {number + 1}: {_words(setup)}")
            answer = self._measure(What(stage="setup", round=number, setup=setup, policies=(policy,)), seconds)
            (one,) = answer.figures or (None,)
            if one is None or one.error:
                if setup == _ordinary(self.setups, setup.engine):
                    self._not_run[setup.engine] = answer.error or (one.error if one else "no answer")
                return None
            self._searched.append(
                Searched(
                    round=number,
                    setup=setup,
                    seconds=seconds,
                    p90_ms=one.p90_ms,
                    images_per_s=one.images_per_s,
                    memory_bytes=one.memory_bytes,
                )
            )
            limit = self.request.memory_bytes
            if limit is not None and one.memory_bytes is not None and one.memory_bytes > limit and number == 0:
                return 1e12 + one.memory_bytes  # behind all that stay within it, the smallest first
            return one.p90_ms if self.request.compared_by == "latency" else 1e3 / one.images_per_s

        ranked = successive_halving(
            candidates,
            measure,
            seconds=ROUND_S * self._scale,
            group_of=lambda setup: setup.engine,
            may_begin=lambda setup, seconds: self._fits(self._opening + seconds, SETUPS_UNTIL),
        )
        best: dict[str, Setup] = {}
        for one in ranked:
            best.setdefault(one.candidate.engine, one.candidate)
        for setup in candidates:  # for which there was no time
            if setup.engine not in self._not_run:
                best.setdefault(setup.engine, setup)
        return list(best.values())

    def _policies(self, setup: Setup) -> None:
        asked = list(self.policies)
        until = 1.0 if self.judge is None and not self._trials else POLICIES_UNTIL
        while asked and not self._fits(self._opening + len(asked) * 1.2 * self._policy_s, until):
            asked.pop(len(asked) // 2 if len(asked) > 2 else 0)  # the ends of the range stay
        if not asked and self._trials:
            return
        asked = asked or ["native"]
        self._say(f"policies: {_words(setup)}")
        answer = self._measure(What(stage="policy", round=0, setup=setup, policies=tuple(asked)), self._policy_s)
        if answer.error:
            self._not_run[setup.engine] = answer.error
        self._complete = self._complete and answer.complete
        for one in answer.figures:
            if one.error:
                self._not_run[f"{setup.engine}, {one.policy}"] = one.error
                continue
            self._trials.append(
                Trial(
                    setup=setup,
                    policy=one.policy,
                    tokens_per_image=one.tokens_per_image,
                    images_per_s=one.images_per_s,
                    p50_ms=one.p50_ms,
                    p90_ms=one.p90_ms,
                    p99_ms=one.p99_ms,
                    timed=one.timed,
                    answered=one.answered,
                    memory_bytes=one.memory_bytes,
                    streams=answer.streams,
                    agreement=one.agreement,
                    similarity=one.similarity,
                )
            )

    def _judged(self, measured: Measured, judge: Judge) -> Measured:
        """The same with the accuracy of as many trials as there is time for; with that of one or more of them it is
        what they are compared by."""
        front = pareto_front(measured, range(len(measured.trials)))
        order = [*front, *(place for place in range(len(measured.trials)) if place not in front)]
        trials = list(measured.trials)
        slowness = sum(1 / trial.images_per_s for trial in trials)
        count = int(JUDGED * (self._seconds - self._passed()) / slowness)  # images of which all trials are judged
        for number, place in enumerate(order):
            trial = trials[place]
            if count < 1 or not self._fits(count / trial.images_per_s, 1.0):
                self._complete = False
                continue
            self._say(f"accuracy, {number + 1} of {len(order)}: {trial.setup.engine}, {trial.policy}")
            found = judge(trial, count)
            if found is None:
                self._complete = False
                continue
            trials[place] = msgspec.structs.replace(trial, top1=found)
        quality: Quality = "top1" if any(trial.top1 is not None for trial in trials) else measured.quality
        return msgspec.structs.replace(measured, trials=tuple(trials), quality=quality)

    def _together(self, measured: Measured) -> tuple[Together, ...]:
        trial = measured.trials[recommend(measured).balanced.trial]
        counts = tuple(sorted(set(self.request.together)))
        if not self._fits(self._opening + len(counts) * TOGETHER_S * self._scale, 1.0):
            return ()
        self._say(f"images at once: {_words(trial.setup)}, {trial.policy}")
        what = What(stage="together", round=0, setup=trial.setup, policies=(trial.policy,), together=counts)
        answer = self._measure(what, TOGETHER_S * self._scale)
        return tuple(Together(images=count, images_per_s=rate) for count, rate in answer.together)

    # --- what they share

    def _measure(self, what: What, seconds: float) -> Answer:
        begin = self.clock()
        answer = self.measure(what, seconds, max(1.0, self._seconds - self._passed()))
        took = self.clock() - begin
        asked = seconds * (len(what.policies) + len(what.together))
        if took > asked / 2 and not answer.error:  # else it was known from before
            self._opening = max(0.0, took - asked)
        return answer

    def _fits(self, seconds: float, until: float) -> bool:
        fits = self._passed() + seconds <= until * self._seconds
        if not fits:
            self._complete = False
        return fits

    def _measured(self, reference: str, quality: Quality, together: tuple[Together, ...]) -> Measured:
        return Measured(
            aim=self.request.compared_by,
            target_ms=self.request.target_ms,
            memory_limit_bytes=self.request.memory_bytes,
            quality=quality,
            reference=reference,
            images=self.images,
            engines=tuple(self.engines),
            searched=tuple(self._searched),
            search_policy=self._middle_policy(),
            trials=tuple(self._trials),
            together=together,
            tokens=self.tokens,
            not_run=dict(self._not_run),
            seconds=self._passed(),
            complete=self._complete,
        )

    def _middle_policy(self) -> str:
        """Of the token caps the one in the middle; without any the first policy."""
        caps = [policy for policy in self.policies if policy.startswith("token-cap")]
        return caps[len(caps) // 2] if caps else self.policies[0]

    def _say(self, words: str) -> None:
        self.on_step(Step(words=words, seconds=self._passed(), of_seconds=self._seconds))

    def _reasons(self) -> str:
        return "; ".join(f"{name}: {why}" for name, why in self._not_run.items()) or "no engine was asked for"

    def _passed(self) -> float:
        return self.clock() - self._begin

    @property
    def _seconds(self) -> float:
        return self.request.minutes * 60

    @property
    def _scale(self) -> float:
        return min(3.0, max(0.02, self.request.minutes / 10))

    @property
    def _policy_s(self) -> float:
        return POLICY_S * self._scale


def _ordinary(setups: Sequence[Setup], engine: str) -> Setup:
    return next(setup for setup in setups if setup.engine == engine)


def _words(setup: Setup) -> str:
    """ "openvino-cpu-bf16, 2 threads, 1 slot"."""
    parts = [setup.engine]
    if setup.threads:
        parts.append(f"{setup.threads} thread{'s' * (setup.threads != 1)}")
    if setup.slots:
        parts.append(f"{setup.slots} slot{'s' * (setup.slots != 1)}")
    return ", ".join(parts)
