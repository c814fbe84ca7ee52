"""Image files by their bytes: a session that remembers results asks for them before it decodes (docs/cache.md)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from navit_edge.decode import files
from navit_edge.decode.encoded import held, is_encoded, name_of
from navit_edge.decode.refusals import refusals

if TYPE_CHECKING:
    from navit_edge import _core
    from navit_edge.decode.decoder import Decoder
    from navit_edge.pixels import Given


class Read(NamedTuple):
    """An image file that was read. who: what messages call it. digest: SHA-256 of the bytes and of all that decides how
    they are decoded."""

    data: bytes
    who: str
    digest: bytes


class Recall:
    """What a session remembers of files. Immutable; any number of threads may use one."""

    def __init__(self, session: _core.Session, decoder: Decoder) -> None:
        self._session = session
        self._decoder = decoder
        self._head = hashlib.sha256(repr((decoder.options, decoder.recorded)).encode() + b"\0")

    @staticmethod
    def of(session: _core.Session, decoder: Decoder) -> Recall | None:
        """None if the session remembers nothing."""
        return Recall(session, decoder) if session.caches else None

    def read(self, image: Any, who: str) -> Read | None:
        """None of what is no file: the core hashes its pixels. Raises InvalidInputError."""
        if not is_encoded(image):
            return None
        name = name_of(image, who)
        most_bytes = self._decoder.options.max_file_bytes
        with refusals(name):
            if isinstance(image, (str, os.PathLike)):
                with files.open_regular(image, most_bytes) as file:
                    data = file.read(most_bytes + 1)
                files.check_bytes(len(data), most_bytes)
            else:
                data = held(image, most_bytes)
        digest = self._head.copy()
        digest.update(data)
        return Read(data, name, digest.digest())

    def result(
        self, read: Read, policy: _core.Policy | None, tag: Any = None, deadline_us: float = 0.0
    ) -> _core.Result | None:
        """The result that is remembered of the file. Raises what ``submit`` raises if the session is closed or
        broken."""
        return self._session.recall((read.digest, ""), tag, deadline_us, policy)

    def decoded(self, read: Read) -> Given:
        """Raises InvalidInputError."""
        from navit_edge.pixels import given_by

        return given_by(self._decoder.decode_pixels(read.data, read.who))._replace(digest=read.digest)

    def for_list(self, policy: _core.Policy | None) -> Callable[[Any, str], Given | _core.Result | None]:
        """For the images of one list: (image, who) -> the result, the pixels, or None of what is no file. A file that
        comes more than once is decoded once."""
        seen: dict[bytes, Given] = {}

        def look(image: Any, who: str) -> Given | _core.Result | None:
            read = self.read(image, who)
            if read is None:
                return None
            if read.digest in seen:
                return seen[read.digest]
            result = self.result(read, policy)
            if result is not None:
                return result
            given = self.decoded(read)
            seen[read.digest] = given._replace(new_bytes=0)
            return given

        return look
