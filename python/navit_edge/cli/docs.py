"""`navit-edge docs`: the pages of the documentation, which the package brings along."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from navit_edge.cli.common import DebugOption, command, echo, out_console
from navit_edge.errors import InvalidInputError


@command
def docs(
    page: Annotated[
        str | None,
        typer.Argument(help="Page to show, such as inputs or docs/inputs.md.", metavar="NAME", show_default=False),
    ] = None,
    path: Annotated[
        bool, typer.Option("--path", metavar="", help="Print the page's file instead of its text.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Show a page of the documentation, or list the pages.

    In a terminal the page opens in your pager; elsewhere it is printed as
    it is, in Markdown.
    """
    folder = docs_folder()
    pages = {file.stem: file for file in sorted(folder.glob("*.md")) if file.stem != "README"}
    if page is None:
        width = max(map(len, pages))
        echo(str(folder) if path else "\n".join(f"{name.ljust(width)}  {_title(file)}" for name, file in pages.items()))
        return
    name = Path(page).name.removesuffix(".md")
    if name not in pages:
        near = difflib.get_close_matches(name, pages, 1)
        remedy = f"did you mean {near[0]}?" if near else "navit-edge docs lists the pages"
        raise typer.BadParameter(f"there is no page {name!r}; {remedy}", param_hint="NAME")
    if path:
        echo(str(pages[name]))
        return
    text = pages[name].read_text(encoding="utf-8")
    console = out_console()
    if not console.is_terminal:
        echo(text.removesuffix("\n"))
        return
    from rich.markdown import Markdown

    with console.pager():
        console.print(Markdown(text), width=min(console.width, 100))


def docs_folder() -> Path:
    """The checkout's own pages, or those that lie in an installed package. Raises InvalidInputError if neither does."""
    import navit_edge

    checkout = Path(navit_edge.__file__).resolve().parents[2] / "docs"
    installed = [Path(folder) / "docs" for folder in navit_edge.__path__]
    for folder in (checkout, *installed):
        if (folder / "map.md").is_file():
            return folder
    raise InvalidInputError(
        f"the pages are not in {installed[-1]}; install the package again: "
        "pip install --force-reinstall --no-deps navit-edge"
    )


def _title(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return next((line.removeprefix("#").strip() for line in lines if line.startswith("# ")), "")
