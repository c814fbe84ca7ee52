"""How a job is continued: what it was asked for, who writes its output now, and which of its images are done.

The output itself says which images are done; nothing is written twice that could disagree.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from navit_edge.bundle.identity import model_hash
from navit_edge.errors import InvalidInputError
from navit_edge.files import sync_folder
from navit_edge.run.durable import cannot_write
from navit_edge.run.sources import Item, Name

#: Of the journal's JSON.
SCHEMA_VERSION = 1


class Journal:
    """The file beside an output that says which job writes it. While it is open, no other job can write the output.

    path: the journal; ``output`` is what messages name.
    Raises InvalidInputError if another job is at it.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.output = output
        self._new = not os.path.lexists(path)
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise InvalidInputError(f"{output} is being written by another job; wait for it, or stop it") from None
        except OSError:  # a file system without locks
            pass
        self.path = path

    def read(self) -> dict[str, Any] | None:
        """The fingerprint of the job that wrote the output; None if none was begun."""
        content = os.pread(self._handle, os.fstat(self._handle).st_size, 0)
        if not content.strip(b"\0 \n"):
            return None
        try:
            found = json.loads(content)
            version = found["schema_version"]
            job: dict[str, Any] = found["job"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InvalidInputError(f"{self.path} is no journal of a job; --overwrite starts anew") from None
        if version != SCHEMA_VERSION:
            raise InvalidInputError(
                f"{self.path} is of schema version {version}, expected {SCHEMA_VERSION}; --overwrite starts anew"
            )
        return job

    def write(self, job: Mapping[str, Any]) -> None:
        """Before the first result; on the disk when it returns."""
        content = json.dumps({"schema_version": SCHEMA_VERSION, "job": job}, indent=1, ensure_ascii=True) + "\n"
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, content.encode(), 0)
            os.fsync(self._handle)
            sync_folder(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def require_same(self, job: Mapping[str, Any]) -> bool:
        """Whether the output was begun. Raises InvalidInputError with what differs if another job has begun it."""
        before = self.read()
        if before is None:
            return False
        asked = dict(job)
        as_written = asked.pop("model_as_written", None)
        if before.pop("model_as_written", None) is None and as_written is not None:  # an older version began it
            asked["model"] = as_written
        differences = [
            f"{key} was {_shown(before.get(key))} and is {_shown(asked.get(key))}"
            for key in dict.fromkeys([*before, *asked])
            if before.get(key) != asked.get(key)
        ]
        if differences:
            raise InvalidInputError(
                f"{self.output} was begun by another job: {'; '.join(differences)}; --resume continues a job as it was "
                "begun: give the same options, another output, or --overwrite"
            )
        return True

    def discard(self) -> None:
        """If the job does not begin after all: leaves nothing of a journal that was not there before."""
        if self._new:
            with suppress(OSError):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)  # and with it the lock
            self._handle = -1


def fingerprint(bundle: Path, **options: Any) -> dict[str, Any]:
    """What makes results those of one job: the model and every option that changes a result."""
    return {"model": model_hash(bundle), "model_as_written": model_hash(bundle, as_written=True), **options}


class Remaining:
    """Of the images of a job those that are not done, each as often as it is named and not done.

    While images come in the order of the output, which they do if nothing has changed, one name is held. At the
    first one that differs (a folder has changed; standard input is in another order) the names that are left of the
    output are read, sixteen bytes each, and compared as a bag.

    done: the names of the output, in its order; read lazily.
    """

    def __init__(self, done: Iterator[Name]) -> None:
        self._done = done
        #: Images that were passed over since they are done.
        self.skipped = 0
        #: Results in the output whose image is not named any more; known when all images have been seen.
        self.orphans = 0

    def of(self, items: Iterator[Item]) -> Iterator[Item]:
        items = iter(items)
        for item in items:
            expected = next(self._done, None)
            if expected is None:
                yield item
                yield from items
                return
            if expected != item.name:
                yield from self._unordered(chain([expected], self._done), chain([item], items))
                return
            self.skipped += 1
        self.orphans = sum(1 for _ in self._done)

    def _unordered(self, done: Iterator[Name], items: Iterator[Item]) -> Iterator[Item]:
        digests = array.array("B")
        for name in done:
            digests.frombytes(_digest(name))
        known, counts = np.unique(np.frombuffer(digests, "S16"), return_counts=True)
        for item in items:
            wanted = np.array(_digest(item.name), "S16")
            place = int(np.searchsorted(known, wanted))
            if place < len(known) and known[place] == wanted and counts[place] > 0:
                counts[place] -= 1
                self.skipped += 1
            else:
                yield item
        self.orphans = int(counts.sum())


def _digest(name: Name) -> bytes:
    """Sixteen bytes: among 10^9 images two have the same with a probability of 10^-21."""
    frame = b"" if name.frame is None else b"\0%d" % name.frame
    return hashlib.blake2b(name.file.encode() + frame, digest_size=16).digest()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value or '""'
    return text if len(text) <= 40 else f"{text[:16]}…"
