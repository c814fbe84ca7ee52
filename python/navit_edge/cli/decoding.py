"""The options of every command that decodes images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from navit_edge.cli.option_group import option_group
from navit_edge.decode import FORMATS, DecodeOptions
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import Decode, Icc, Orientation

R = TypeVar("R")

_PANEL = "Decoding (navit-edge docs inputs)"


def _options(
    orientation: Annotated[
        Orientation | None,
        typer.Option(
            help="Turn images upright by EXIF or container, or leave them as the decoder gives them.",
            show_default="the bundle's",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    icc: Annotated[
        Icc | None,
        typer.Option(
            help="Convert images with a colour profile to sRGB, or ignore the profile.",
            show_default="the bundle's",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    decode: Annotated[
        Decode | None,
        typer.Option(
            help="Decode JPEG files exactly, or, where they are made smaller, at a part of their sides: other pixels.",
            show_default="the bundle's",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    also_decode: Annotated[
        str,
        typer.Option(
            help=f"Also decode formats other than {', '.join(FORMATS)}, by Pillow's names, such as TGA,PSD.",
            metavar="LIST",
            show_default="none",
            rich_help_panel=_PANEL,
        ),
    ] = "",
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Refuse images of more pixels, by their header.",
            metavar="PIXELS",
            rich_help_panel=_PANEL,
            show_default=f"{DecodeOptions().max_pixels >> 20} Mi pixels",
        ),
    ] = DecodeOptions().max_pixels,
    max_file_bytes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Refuse larger image files.",
            metavar="BYTES",
            rich_help_panel=_PANEL,
            show_default=f"{DecodeOptions().max_file_bytes >> 30} GiB",
        ),
    ] = DecodeOptions().max_file_bytes,
) -> DecodeOptions:
    further = tuple(name.strip() for name in also_decode.split(",")) if also_decode else ()
    try:
        return DecodeOptions(
            formats=(*FORMATS, *further),
            orientation=orientation,
            icc=icc,
            jpeg=decode,
            max_pixels=max_pixels,
            max_file_bytes=max_file_bytes,
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error), param_hint="--also-decode") from error


def decoding(function: Callable[..., R]) -> Callable[..., R]:
    """Gives a command the options above, and its argument ``decode`` what they say."""
    return option_group(_options, "decode")(function)
