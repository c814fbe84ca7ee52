"""``--ray`` and what goes with it: a job on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from navit_edge.cli.option_group import option_group

if TYPE_CHECKING:
    from navit_edge.cli.text_classes import TextClasses
    from navit_edge.policy import Policy
R = TypeVar("R")

#: Threads of the driver that read files, at least.
_READERS = 4


@dataclass(frozen=True, kw_only=True)
class OnRay:
    """What the options say. actors: 0 if they do not. batch_images: most of a batch. shared_paths: actors open the
    paths themselves."""

    address: str
    actors: int
    batch_images: int
    shared_paths: bool


_PANEL = "Ray cluster (navit-edge docs ray)"


def _options(
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            help="Run on a Ray cluster: host:port; auto, which --ray alone means, the one of RAY_ADDRESS or of this "
            "machine; local, one that is started for the job.",
            metavar="ADDRESS",
            show_default="this process",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    ray_actors: Annotated[
        int,
        typer.Option(
            min=0,
            help="Sessions, each in an actor with --threads CPUs, or with a GPU if --device is gpu.",
            metavar="N",
            show_default="as many as there is room for",
            rich_help_panel=_PANEL,
        ),
    ] = 0,
    ray_batch: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most images that an actor gets at once and plans together.",
            metavar="N",
            rich_help_panel=_PANEL,
        ),
    ] = 128,
    ray_shared_paths: Annotated[
        bool,
        typer.Option(
            "--ray-shared-paths",
            metavar="",
            help="Every node has the files under the same paths: actors open them, and nothing of them is sent.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
) -> OnRay | None:
    if ray is None:
        for name, given in (("actors", ray_actors), ("shared-paths", ray_shared_paths)):
            if given:
                raise typer.BadParameter("it goes with --ray", param_hint=f"--ray-{name}")
        return None
    if not ray:
        raise typer.BadParameter("it is empty (''); expected host:port, auto or local", param_hint="--ray")
    return OnRay(address=ray, actors=ray_actors, batch_images=ray_batch, shared_paths=ray_shared_paths)


def on_ray(function: Callable[..., R]) -> Callable[..., R]:
    """Gives a command the options above, and its argument ``where`` what they say; None: no cluster."""
    return option_group(_options, "where")(function)


@contextmanager
def job_on(
    where: OnRay | None,
    bundle: Path,
    session: dict[str, Any],
    policy: Policy,
    save: Sequence[str],
    top_k: int,
    by_text: TextClasses,
    decoders: int,
    *,
    with_results: bool,
    still: bool,
) -> Iterator[tuple[Any, Any]]:
    """What runs a job: a session, or what stands for the actors', and its feed.

    session: arguments of ``navit_edge.Session``. with_results: the job looks at results, not at rows only. still:
    frames that show nothing new get the result before; of a session.
    """
    if where is None:
        from navit_edge.run.feed import Feed
        from navit_edge.session import Session
        from navit_edge.streaming import Still

        with Session(bundle, decoders=decoders, **session) as here:
            yield here, Feed(here, policy=policy, still=Still() if still else None)
        return
    from navit_edge.ray.job import opened
    from navit_edge.ray.job_actor import Task

    given = dict(session)
    threads, gpu = given.pop("threads"), given["device"] == "gpu"
    if given["device"] == "auto":
        del given["device"]  # what the actor has
    task = Task(
        bundle=os.path.abspath(bundle),
        session=given,
        policy=policy,
        save=tuple(save),
        top_k=top_k,
        names=by_text.names,
        templates=by_text.templates,
        with_results=with_results,
    )
    with opened(where.address, task, actors=where.actors, decode=given["decode"], threads=threads, gpu=gpu) as there:
        yield (
            there,
            there.feed(
                readers=max(decoders, _READERS), batch_images=where.batch_images, shared_paths=where.shared_paths
            ),
        )
