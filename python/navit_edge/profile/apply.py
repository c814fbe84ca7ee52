"""What a session takes from a profile; what is asked for explicitly comes first."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navit_edge import _core
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.identity import hashes_of, model_hash
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.files import shown
from navit_edge.options import checked_bytes, checked_int
from navit_edge.profile.machine import Machine, differences, this_machine
from navit_edge.profile.schema import Profile, read_profile
from navit_edge.vocabulary import USES, Use

#: What is taken if nobody names a use.
DEFAULT_USE: Use = "balanced"


@dataclass(frozen=True, kw_only=True)
class Applied:
    """Options of a session. policy: as text; "": the session's default. max_memory: bytes that its process may hold; 0:
    no limit. warnings: why the profile may not hold here."""

    engine: str
    threads: int
    slots: int
    policy: str
    max_memory: int
    warnings: tuple[str, ...]


def apply_profile(
    profile: str | os.PathLike[str] | Profile,
    bundle: str | os.PathLike[str],
    use: Use | None = None,
    *,
    engine: str = "",
    precision: str = "auto",
    device: str = "auto",
    devices: Sequence[object] = (),
    threads: int = 0,
    slots: int = 0,
    policy: str = "",
    max_memory: int = 0,
    here: Machine | None = None,
) -> Applied:
    """The options of a profile for ``use``, with what is given in their place.

    engine, precision, device, devices: if any of them is not its default, the engine is chosen by them alone.
    here: this machine; None: it is looked at.

    Raises BundleError if it is no profile, or names an engine that the bundle does not have, and InvalidInputError.
    """
    use = DEFAULT_USE if use is None else use
    if use not in USES:
        raise InvalidInputError(f"use is {use!r}; expected one of {', '.join(USES)}")
    name = "the profile" if isinstance(profile, Profile) else f"profile {shown(profile)}"
    found = profile if isinstance(profile, Profile) else read_profile(profile)
    manifest = manifests.load(Path(bundle))
    trial = found.trial(use)
    said = []
    other = model_hash(Path(bundle)) != found.bundle.model
    if other:
        said.append(
            f"{name} was made for another bundle, {shown(found.bundle.name)}; its settings may not suit this one: run "
            "navit-edge tune"
        )
    chosen = engine
    if not engine and precision == "auto" and device == "auto" and not devices:
        chosen = trial.setup.engine
        there = {one.id if one.group is None else one.group.id for one in manifest.engines}
        there |= {one.id for one in manifest.engines}
        if chosen not in there:
            raise BundleError(
                f"{name} names the engine {chosen} for {use}, and {shown(bundle)} has "
                f"{', '.join(sorted(there)) or 'none'}; build it with navit-edge build-engine, name another engine, or "
                "make the profile anew with navit-edge tune"
            )
        facts = next((one for one in found.measured.engines if one.id == chosen), None)
        if not other and facts is not None and facts.sha256 != hashes_of(manifest, chosen):
            said.append(f"engine {chosen} was built anew since {name} was made; run navit-edge tune again")
    machine = this_machine(gpu=bool(found.machine.gpu)) if here is None else here
    if changed := differences(found.machine, machine):
        said.append(
            f"{name} was made on another machine ({'; '.join(changed)}); its times do not hold here: run navit-edge "
            "tune"
        )
    return Applied(
        engine=chosen,
        threads=threads or trial.setup.threads,
        slots=slots or trial.setup.slots,
        policy=policy or str(_core.Policy.parse(trial.policy)),
        max_memory=max_memory or found.measured.memory_limit_bytes or 0,
        warnings=tuple(said),
    )


def applied_to_session(
    profile: str | os.PathLike[str] | Profile | None,
    use: Use | None,
    bundle: str | os.PathLike[str],
    threads: int,
    slots: int,
    max_memory: int | str,
    **given: Any,
) -> Applied:
    """``apply_profile`` for a session, whose caller gets the warnings as RuntimeWarning.

    Raises InvalidInputError if there is a use and no profile.
    """
    if profile is None:
        raise InvalidInputError(f"use is {use!r} and there is no profile that says what it is; give profile=")
    applied = apply_profile(
        profile,
        bundle,
        use,
        threads=checked_int("threads", threads),
        slots=checked_int("slots", slots),
        max_memory=checked_bytes("max_memory", max_memory),
        **given,
    )
    for text in applied.warnings:
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return applied
