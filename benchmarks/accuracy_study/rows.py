"""The rows of the study, and which row each is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from accuracy_study.evaluations import POLICIES
from accuracy_study.resizers import RESIZERS
from accuracy_study.sample import CAPS, DRIFT_CAP, FEW_CAPS, MOST, POLICY_CAP


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A row. job: of ``evaluations.jobs``. against: the key of the row that it is compared with; "": none."""

    key: str
    group: str
    job: str
    name: str
    precision: str = "fp32"
    policy: str = "native"
    cap: int = MOST
    against: str = ""
    elongated: bool = False  # only of images that are so


def specs() -> list[Spec]:
    """Every row; one that others are compared with comes before them."""
    return [*_caps(), *_precisions(), *_policies(), *_squares(), *_drift()]


def _caps() -> Iterator[Spec]:
    for cap in reversed(CAPS):
        yield Spec(
            key=f"fp32-{cap}", group="caps", job="fp32", name=f"at most {cap} patches", cap=cap,
            against="" if cap == MOST else f"fp32-{MOST}",
        )  # fmt: skip


def _precisions() -> Iterator[Spec]:
    for cap in reversed(FEW_CAPS):
        for job, words in (("bf16", "bf16"), ("int8-plain", "int8 without smoothing"), ("int8", "int8")):
            yield Spec(
                key=f"{job}-{cap}", group="precision", job=job, name=f"{words}, at most {cap}",
                precision=job.partition("-")[0], cap=cap, against=f"fp32-{cap}",
            )  # fmt: skip


def _policies() -> Iterator[Spec]:
    for policy in POLICIES:
        yield Spec(
            key=policy, group="policies", job="policies", name=policy, policy=policy, cap=POLICY_CAP,
            against=f"fp32-{POLICY_CAP}",
        )  # fmt: skip


def _squares() -> Iterator[Spec]:
    for cap in reversed(FEW_CAPS):
        job = f"square-{cap}"
        yield Spec(
            key=job, group="square", job=job, name=f"square, tokens as under {cap}", cap=cap, against=f"fp32-{cap}"
        )
        if cap == 256:
            name = "square, all at 16 × 16 patches"
            yield Spec(key="fixed-256", group="square", job="fixed-256", name=name, cap=cap, against=f"fp32-{cap}")
    for cap in reversed(FEW_CAPS):
        name = f"elongated images, at most {cap} patches"
        yield Spec(key=f"native-long-{cap}", group="long", job="fp32", name=name, cap=cap, elongated=True)
        yield Spec(
            key=f"square-long-{cap}", group="long", job=f"square-{cap}",
            name=f"elongated images, square, tokens as under {cap}", cap=cap,
            against=f"native-long-{cap}", elongated=True,
        )  # fmt: skip


def _drift() -> Iterator[Spec]:
    exact = f"exact-{DRIFT_CAP}"
    for name, (words, _) in RESIZERS.items():
        key = f"{name}-{DRIFT_CAP}"
        yield Spec(key=key, group="drift", job=key, name=words, cap=DRIFT_CAP, against="" if key == exact else exact)
