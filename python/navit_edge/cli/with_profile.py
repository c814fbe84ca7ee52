"""``--profile`` and ``--use``: options of a command from a profile of `navit-edge tune`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from navit_edge.cli.common import ENGINE_PANEL, err_console
from navit_edge.cli.option_group import option_group
from navit_edge.vocabulary import Use

if TYPE_CHECKING:
    from navit_edge.profile import Applied

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class FromProfile:
    """The profile and the use that it is read for. path: None: no profile is given."""

    path: Path | None
    use: Use | None

    def applied(
        self,
        bundle: Path,
        *,
        engine: str = "",
        precision: str = "auto",
        device: str = "auto",
        threads: int = 0,
        slots: int = 0,
        policy: str = "",
        max_memory: int = 0,
    ) -> Applied:
        """The options of a command, those of the profile in the place of what is not given. Says on standard error
        why a profile may not hold here."""
        from navit_edge.profile import Applied, apply_profile

        if self.path is None:
            return Applied(
                engine=engine, threads=threads, slots=slots, policy=policy, max_memory=max_memory, warnings=()
            )
        found = apply_profile(
            self.path,
            bundle,
            self.use,
            engine=engine,
            precision=precision,
            device=device,
            threads=threads,
            slots=slots,
            policy=policy,
            max_memory=max_memory,
        )
        for text in found.warnings:
            err_console().print(f"warning: {text}", style="yellow", soft_wrap=True, markup=False)
        return found


def _options(
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Take the engine, threads, slots and policy that navit-edge tune found, if they are not given "
            "(navit-edge docs tune).",
            metavar="FILE",
            show_default=False,
            rich_help_panel=ENGINE_PANEL,
        ),
    ] = None,
    use: Annotated[
        Use | None,
        typer.Option(
            help="Which of the profile's recommendations.", show_default="balanced", rich_help_panel=ENGINE_PANEL
        ),
    ] = None,
) -> FromProfile:
    if use is not None and profile is None:
        raise typer.BadParameter("it goes with --profile", param_hint="--use")
    return FromProfile(path=profile, use=use)


def with_profile(function: Callable[..., R]) -> Callable[..., R]:
    """Gives a command the options above, and its argument ``tuned`` what they say."""
    return option_group(_options, "tuned")(function)
