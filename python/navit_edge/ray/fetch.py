"""What a row of a data set has for an image, as what ``navit_edge`` decodes: paths, URLs, encoded bytes, pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from navit_edge.decode.encoded import held
from navit_edge.decode.files import shown
from navit_edge.decode.refusals import refusals
from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.pixels import Given, as_pixels

if TYPE_CHECKING:
    from navit_edge.decode import Decoder

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:::[A-Za-z][A-Za-z0-9+.-]*)*://")


def load(value: Any, who: str, decoder: Decoder, storage_options: Mapping[str, Any]) -> Given:
    """The pixels of one row. who: what messages call it if it has no name. Raises NavitEdgeError."""
    if value is None:
        raise InvalidInputError(f"{who} is None; expected a path, a URL, the bytes of an image file, or pixels")
    if isinstance(value, str) and _URL.match(value):
        return as_pixels(_fetched(value, decoder, storage_options), shown(value), decoder)
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = np.stack(list(value)) if value.ndim == 1 and len(value) else value
    return as_pixels(value, who, decoder)


def _fetched(url: str, decoder: Decoder, storage_options: Mapping[str, Any]) -> bytes:
    fsspec = import_or_explain("fsspec", purpose="reading URLs", remedy='pip install "navit-edge[ray]"')
    with refusals(shown(url)):
        try:
            with fsspec.open(url, "rb", **storage_options) as file:
                return held(file, decoder.options.max_file_bytes)
        except InvalidInputError:
            raise
        except FileNotFoundError:
            raise InvalidInputError("no such file; expected an image") from None
        except Exception as error:  # each file system has its own
            words = " ".join(str(error).split())[:200] or type(error).__name__
            raise InvalidInputError(f"cannot be read ({words}); check the URL and storage_options") from error
