"""Pictures as files: checked before the work that they show, and written whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.place import check_file_place, write_file
from navit_edge.text import shown


def check_picture(path: Path, *, purpose: str) -> None:
    """Raises MissingPackageError, OutputError, and InvalidInputError for a file whose name ends in something else."""
    place = check_file_place(path)
    if not place.is_stream and path.suffix.lower() != ".png":
        raise InvalidInputError(f"plot file {shown(path.name)!r}; expected a name that ends in .png")
    import_or_explain("matplotlib", purpose=purpose, remedy="pip install matplotlib")


def write_picture(canvas: Any, path: Path, *, dpi: int) -> None:
    """A matplotlib canvas as PNG. Raises OutputError."""
    picture = io.BytesIO()
    canvas.print_figure(picture, dpi=dpi, format="png")
    write_file(path, picture.getvalue())


def picture_text(text: str) -> str:
    """Text of others in a picture: matplotlib would read what stands between two dollar signs as a formula."""
    return shown(text).replace("$", r"\$")
