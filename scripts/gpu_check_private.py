"""Takes out of the results of gpu_check what belongs to a person or a machine: names, home, secrets."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

#: Files of the archive that are text.
TEXT = (".log", ".json", ".txt", ".csv")
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE|AUTH|COOKIE", re.IGNORECASE)
_LEAST_SECRET = 6  # shorter values are words that stand in any text
#: Names of users and machines that say nothing of a person, and that stand in many a text.
_COMMON = frozenset({"root", "user", "ubuntu", "nvidia", "admin", "localhost", "jetson", "orin", "debian", "runner"})


class Private:
    """Replaces in texts what must not leave the machine.

    folders: directory -> the word that takes its place, beside the home directory.
    """

    def __init__(
        self,
        folders: Mapping[Path, str],
        *,
        environment: Mapping[str, str] = os.environ,
        user: str | None = None,
        host: str | None = None,
        home: Path | None = None,
    ) -> None:
        named = {str(path): word for path, word in folders.items()}
        home_text = str(Path.home() if home is None else home)
        if len(home_text) > 1:
            named.setdefault(home_text, "~")
        self._secrets = {
            value for name, value in environment.items() if _SECRET.search(name) and len(value) >= _LEAST_SECRET
        }
        words = {_user() if user is None else user: "USER"}
        for name in dict.fromkeys((host or socket.gethostname(), (host or socket.gethostname()).partition(".")[0])):
            words[name] = "HOST"
        # The longest first: a directory within another, a host name with its domain.
        self._folders = sorted(named.items(), key=lambda pair: -len(pair[0]))
        self._words = sorted(
            ((name, word) for name, word in words.items() if len(name) > 2 and name.lower() not in _COMMON),
            key=lambda pair: -len(pair[0]),
        )

    def clean(self, text: str) -> str:
        """The text with placeholders."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        text = re.sub(r"(\w+://)[^\s/@]+@", r"\1***@", text)  # a proxy's or an index's password
        for folder, word in self._folders:
            text = re.sub(rf"{re.escape(folder)}(?![\w.-])", lambda _, word=word: word, text)  # type: ignore[misc]
        for name, word in self._words:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", word, text)
        return text

    def clean_folder(self, folder: Path) -> None:
        """Every text file below ``folder``, in place."""
        for file in folder.rglob("*"):
            if file.is_file() and file.suffix in TEXT:
                text = file.read_text(encoding="utf-8", errors="replace")
                file.write_text(self.clean(text), encoding="utf-8")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for this number, as in many containers
        return ""
