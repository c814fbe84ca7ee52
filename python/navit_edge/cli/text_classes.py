"""``--classes`` and ``--template``: classes that are texts, of the commands that run or export a bundle."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from navit_edge.cli.common import err_console
from navit_edge.cli.option_group import option_group
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.zero_shot import ZeroShotClassifier
    from navit_edge_export.families.registry import Imported

R = TypeVar("R")

_PANEL = "Classes by their names (navit-edge docs zero-shot)"


@dataclass(frozen=True, kw_only=True)
class TextClasses:
    """What the options say; ``names`` is empty if there are none."""

    names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names)

    def fingerprint(self) -> dict[str, str]:
        """What of it decides results."""
        return {"classes": "\n".join(self.names), "templates": "\n".join(self.templates)} if self else {}

    def classifier(self, bundle: Path, *, threads: int = 0) -> ZeroShotClassifier:
        """By the bundle's text tower. Says which names it cuts. Raises BundleError and MissingPackageError."""
        from navit_edge.text_encoder import TextEncoder
        from navit_edge.zero_shot import ZeroShotClassifier

        with _warnings_said():
            return ZeroShotClassifier(TextEncoder(bundle, threads=threads), self.names, templates=self.templates)

    def fold_into(self, imported: Imported) -> None:
        """Makes them the classes of a model that was imported with its text tower. Says which names are cut."""
        from navit_edge_export.text.head import fold_classes

        assert imported.text is not None
        with _warnings_said():
            fold_classes(imported.model, imported.text, self.names, templates=self.templates)


@contextmanager
def _warnings_said() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        yield
    for one in caught:
        err_console().print(f"warning: {one.message}", style="yellow", markup=False, soft_wrap=True)


def _options(
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names to score images against: a list such as 'a cat, a dog', or a file with one name a line. Needs "
            "a text tower.",
            metavar="LIST|FILE",
            rich_help_panel=_PANEL,
            show_default="none",
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="Sentence that a name is put into, at {}. Give it several times to average over several.",
            metavar="SENTENCE",
            rich_help_panel=_PANEL,
            show_default="'This is a photo of {}.'",
        ),
    ] = None,
) -> TextClasses:
    from navit_edge.zero_shot import TEMPLATES, parse_classes, sentences_of

    if classes is None:
        if template:
            raise typer.BadParameter("it goes with --classes", param_hint="--template")
        return TextClasses()
    try:
        names = parse_classes(classes)
    except InvalidInputError as error:
        raise typer.BadParameter(str(error), param_hint="--classes") from None
    templates = tuple(template or TEMPLATES)
    try:
        sentences_of(names[:1], templates)
    except InvalidInputError as error:
        raise typer.BadParameter(str(error), param_hint="--template") from None
    return TextClasses(names=names, templates=templates)


def text_classes(function: Callable[..., R]) -> Callable[..., R]:
    """Gives a command the options above, and its argument ``by_text`` what they say."""
    return option_group(_options, "by_text")(function)
