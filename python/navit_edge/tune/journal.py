"""What was measured so far, a line each, so that a tuning that was killed goes on: it asks for the same again and is
answered from here."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from navit_edge.errors import InvalidInputError
from navit_edge.files import shown
from navit_edge.run.durable import cannot_write
from navit_edge.run.journal import Journal
from navit_edge.run.sinks import JOURNAL
from navit_edge.tune.trial import Answer

_LINES = "measured.jsonl"


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    answer: Answer
    seconds: float  # that it took


class TuneJournal:
    """A folder beside the profile, with one writer. job: what makes measurements those of the same tuning.

    Raises InvalidInputError if the folder has measurements and neither ``resume`` nor ``overwrite`` is given, if they
    are those of another job, or if another process writes them; OutputError.
    """

    def __init__(self, folder: Path, job: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        self._journal = Journal(folder / JOURNAL, folder)
        self._file = folder / _LINES
        self._known: dict[str, _Line] = {}
        try:
            begun = not overwrite and self._journal.require_same(job)
            if begun and not resume:
                raise InvalidInputError(
                    f"{shown(folder)} has the measurements of a tuning that did not end; --resume goes on with them, "
                    "--overwrite starts anew"
                )
            if begun:
                self._read()
            else:
                for path in folder.iterdir():
                    if path.name != JOURNAL:
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            self._journal.write(job)
        except BaseException:
            self._journal.discard()
            raise

    @property
    def count(self) -> int:
        """Measurements that are known."""
        return len(self._known)

    def known(self, what: Any) -> tuple[Answer, float] | None:
        """The answer to ``what``, and the seconds that it took; None if it was not measured yet."""
        line = self._known.get(_key(what))
        return None if line is None else (line.answer, line.seconds)

    def add(self, what: Any, answer: Answer, seconds: float) -> None:
        """On the disk when it returns."""
        line = _Line(key=_key(what), answer=answer, seconds=seconds)
        self._known[line.key] = line
        try:
            with self._file.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._file, error) from error

    def finish(self) -> None:
        """The profile is written: nothing of it is needed any more."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        self._journal.close()

    def _read(self) -> None:
        """What ends half-way was being written when the process died, and is measured again."""
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            return
        whole = raw[: raw.rfind(b"\n") + 1]
        for text in whole.splitlines():
            try:
                line = msgspec.json.decode(text, type=_Line)
            except msgspec.DecodeError:
                continue
            self._known[line.key] = line
        if len(whole) < len(raw):
            with self._file.open("rb+") as file:
                file.truncate(len(whole))


def _key(what: Any) -> str:
    text = json.dumps(msgspec.to_builtins(what), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
