"""Requests of ``/v1/embeddings`` and ``/v1/classify``: JSON in the shape of OpenAI's and vLLM's clients, and uploads.

Images come as data URLs or as uploaded files. The server fetches nothing: a URL of anything else is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from navit_edge.serve.errors import bad_input
from navit_edge.serve.limits import Limits
from navit_edge.serve.request import Parameters

#: Most characters of a name or a word.
_MOST_WORD = 256
Word = Annotated[str, msgspec.Meta(max_length=_MOST_WORD)]


class ImageUrl(msgspec.Struct):
    """``url``: a data URL. ``detail`` of OpenAI's clients is read and means nothing here: see ``policy``."""

    url: str
    detail: Word | None = None


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """A part of a content. image_url: an object, or the URL itself."""

    image_url: ImageUrl | str


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """A part of a content that vLLM's clients send along ("Represent the given image."). A tower reads images alone."""

    text: str


class Message(msgspec.Struct):
    """A turn of a conversation, as vLLM takes it for multimodal models."""

    content: str | list[ImagePart | TextPart]
    role: Word = "user"


class Asked(msgspec.Struct, kw_only=True):
    """What both requests have. Fields that are not listed are read over, as OpenAI's and vLLM's servers do.

    model: a name that the server has; may be left out if it has one alone.
    input: a data URL, a list of them, or a list of parts {"type": "image_url", "image_url": {"url": "data:…"}}.
    messages: in place of input, a conversation with one image.
    deadline_ms, timeout, priority, policy: see ``Parameters`` (serve/request.py).
    """

    model: Word = ""
    input: str | list[str | ImagePart | TextPart] | None = None
    messages: list[Message] | None = None
    user: Word | None = None
    deadline_ms: float | None = None
    priority: int | None = None
    policy: Word | None = None
    timeout: float | None = None


class EmbeddingsAsked(Asked, kw_only=True):
    """encoding_format: "base64" of little-endian float32. dimensions: what the bundle's embedding has, or nothing."""

    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class ClassifyAsked(Asked, kw_only=True):
    """top_k: so many classes of each image, best first, in place of the probabilities of all."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None


def read_json(body: bytes | bytearray, kind: type[Any]) -> Any:
    """The request in ``body``, of one of the kinds above. Raises ServeError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_input(
            f'the body is no request: {error}; expected JSON as {{"model": …, "input": "data:image/png;base64,…"}}'
        ) from error


def read_form(fields: Sequence[tuple[str, str]], kind: type[Any]) -> Any:
    """The request in the fields of a form, files left out. Raises ServeError."""
    values: dict[str, Any] = {}
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    for name, text in fields:
        if name in ("input", "messages"):
            raise bad_input(f"the form has a field {name!r}; expected images as files: -F image=@photo.jpg")
        if name in values:
            raise bad_input(f"the form has two fields {name!r}; expected one of them")
        if name in known:
            values[name] = text
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.MsgspecError as error:
        raise bad_input(f"the form is no request: {error}; expected -F model=NAME -F image=@photo.jpg") from error


def images_of(asked: Asked, limits: Limits) -> list[bytes]:
    """The encoded images of a JSON request, in order. Raises ServeError, which names the image by its place."""
    if asked.messages is not None:
        if asked.input is not None:
            raise bad_input("the request has both input and messages; expected one of them")
        return [_decoded(url, 0) for url in _urls_of(asked.messages)]
    if asked.input is None:
        raise bad_input(
            'the request has no input; expected "input": a data URL of an image or a list of them, or messages'
        )
    parts = asked.input if isinstance(asked.input, list) else [asked.input]
    if not parts:
        raise bad_input("input is empty; expected at least one image")
    limits.check_images(len(parts))
    return [_decoded(_url_of(part, place), place) for place, part in enumerate(parts)]


def _urls_of(messages: list[Message]) -> list[str]:
    """The one image of a conversation. Its texts change nothing: the tower reads images alone."""
    found = [
        _url_of(part, place)
        for message in messages
        if isinstance(message.content, list)
        for place, part in enumerate(message.content)
        if isinstance(part, ImagePart)
    ]
    if len(found) != 1:
        raise bad_input(
            f"messages hold {len(found)} images; a conversation gives one answer, so expected one image; "
            "list several under input"
        )
    return found


def _url_of(part: str | ImagePart | TextPart, place: int) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, TextPart):
        raise bad_input(f"input {place} is text; expected an image: this server's models take images alone")
    return part.image_url if isinstance(part.image_url, str) else part.image_url.url


def parameters_of(asked: Asked) -> Parameters:
    """Raises ServeError."""
    return Parameters.of({name: getattr(asked, name) for name in ("deadline_ms", "timeout", "priority", "policy")})


def _decoded(url: str, place: int) -> bytes:
    """What a data URL (RFC 2397) holds."""
    scheme, colon, rest = url.partition(":")
    head, comma, data = rest.partition(",")
    if not colon or scheme.lower() != "data":
        raise bad_input(
            f"image {place} is {_shown(url)}; expected a data URL, data:image/png;base64,…; this server fetches "
            "nothing: send the image itself, in a data URL or as an uploaded file"
        )
    if not comma or head.rpartition(";")[2].strip().lower() != "base64":
        raise bad_input(f"image {place} is a data URL {_shown('data:' + head)}; expected data:image/png;base64,…")
    try:
        found = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_input(f"image {place} is not base64: {error}; expected data:image/png;base64,…") from error
    if not found:
        raise bad_input(f"image {place} is empty; expected the bytes of an image file")
    return found


def _shown(text: str) -> str:
    """A few characters of what a client sent, so that it knows it again."""
    return repr(text[:40] + ("…" if len(text) > 40 else ""))
