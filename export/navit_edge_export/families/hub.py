"""Checkpoints of the Hugging Face Hub: ``hf:ORG/NAME[@REVISION]`` as a folder of files that come when asked for.

Only what an import reads is downloaded, into the cache of huggingface_hub and never as pickle. Without a network, or
with HF_HUB_OFFLINE=1, the cache is what there is. Imports no torch.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from navit_edge.errors import InvalidInputError, import_or_explain

PREFIX = "hf:"
_PART = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(rf"hf:/{{0,2}}(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[\w./-]{{1,200}}))?", re.ASCII)
#: Files that say how pixels are prepared: a cache that may lack one gives other numbers.
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
_REMEDY = 'pip install "navit-edge[hub]"'


@dataclass(frozen=True, kw_only=True)
class HubName:
    """``hf:ORG/NAME[@REVISION]``, checked."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return PREFIX + self.repo + (f"@{self.revision}" if self.revision else "")


def is_hub_name(path: str | Path) -> bool:
    """Whether a checkpoint's path names a model of the Hub; a file of such a name is ``./hf:...``."""
    return str(path).startswith(PREFIX)


def parse_name(path: str | Path) -> HubName:
    """Raises InvalidInputError for anything but hf:ORG/NAME[@REVISION]."""
    text = str(path)
    found = _NAME.fullmatch(text)
    parts = [found["repo"], found["revision"] or ""] if found else []
    if found is None or "--" in parts[0] or any(".." in part or "//" in part or part.startswith("/") for part in parts):
        raise InvalidInputError(
            f"{text!r} is no model of the Hugging Face Hub; expected hf:ORG/NAME or hf:ORG/NAME@REVISION, as "
            "hf:google/siglip2-base-patch16-naflex; give a file or a folder without hf: in front"
        )
    return HubName(repo=found["repo"], revision=found["revision"])


class HubFolder:
    """The files of one commit of a repository. Each is downloaded when ``get`` asks for it, if the cache lacks it."""

    def __init__(self, name: HubName) -> None:
        """Finds the commit. Raises InvalidInputError: no such model, no such revision, not reachable and not cached;
        MissingPackageError: huggingface_hub is not installed."""
        self.name = name
        self.doubts: list[str] = []
        self._hub = import_or_explain("huggingface_hub", purpose=f"a checkpoint called {PREFIX}...", remedy=_REMEDY)
        self._errors = importlib.import_module("huggingface_hub.errors")
        self._constants = importlib.import_module("huggingface_hub.constants")
        self._used: dict[str, Path] = {}
        self.offline = False
        self.commit, self._names = self._find()

    def __str__(self) -> str:
        return f"{PREFIX}{self.name.repo}@{self.commit[:12]}"

    def names(self) -> list[str]:
        """Of the files at the top of the repository, sorted."""
        return self._names

    def has(self, name: str) -> bool:
        """Whether the repository has it; without a network, whether the cache does."""
        if name not in self._names and name in PROCESSOR_FILES:
            self._note_absent(name)
        return name in self._names

    def get(self, name: str) -> Path:
        """The file, in the cache. Raises InvalidInputError."""
        if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")) or Path(name).name != name:
            raise InvalidInputError(
                f"{self} asks for {name}; expected safetensors and JSON; pickle is never downloaded"
            )
        if name not in self._used:
            path = self._download(name, self.commit)
            if not self._used and not self.offline and self.name.revision != self.commit:
                self._download(name, self.name.revision)  # so that the cache knows which commit the name stands for
            self._used[name] = path
        return self._used[name]

    def gather(self, *names: str) -> Path:
        """The commit's folder in the cache, after the download of those of these files that there are."""
        found = [self.get(name) for name in names if self.has(name)]
        return (found[0] if found else self.get("config.json")).parent

    def record(self) -> dict[str, str]:
        """For the manifest: the name with its commit, and the SHA-256 of each file that was read."""
        from navit_edge.bundle.hashing import hash_file

        hashes = {
            f"sha256 of {name}": hash_file(path, follow_links=True).sha256 for name, path in sorted(self._used.items())
        }
        return {"weights": f"{PREFIX}{self.name.repo}@{self.commit}", **hashes}

    def _download(self, name: str, revision: str | None) -> Path:
        with self._explained(name):
            return Path(
                self._hub.hf_hub_download(self.name.repo, name, revision=revision, local_files_only=self.offline)
            )

    def _find(self) -> tuple[str, list[str]]:
        """The commit and the names of its files: from the Hub, else from the cache."""
        if self._constants.HF_HUB_OFFLINE:
            return self._find_in_cache("HF_HUB_OFFLINE is set")
        try:
            with self._explained():
                info = self._hub.HfApi().model_info(self.name.repo, revision=self.name.revision)
        except _UnreachableError as error:
            found = self._find_in_cache(str(error))
            self.doubts.append(f"{error}; {self.name} is read from the cache, at commit {found[0][:12]}")
            return found
        names = [sibling.rfilename for sibling in info.siblings or ()]
        return str(info.sha), sorted(name for name in names if "/" not in name)

    def _find_in_cache(self, why: str) -> tuple[str, list[str]]:
        self.offline = True
        for name in ("config.json", "model.safetensors", "model.safetensors.index.json"):
            found = self._hub.try_to_load_from_cache(self.name.repo, name, revision=self.name.revision)
            if isinstance(found, str):
                folder = Path(found).parent
                return folder.name, sorted(path.name for path in folder.iterdir() if path.is_file())
        folder = self._constants.HF_HUB_CACHE
        raise InvalidInputError(
            f"{self.name} is not in the cache {folder}, and {why}; expected a network or a cached copy; run `hf "
            f"download {self._download_words()}` where there is a network, and set HF_HUB_CACHE to that cache"
        )

    def _download_words(self) -> str:
        return self.name.repo + (f" --revision {self.name.revision}" if self.name.revision else "")

    def _note_absent(self, name: str) -> None:
        """That a file is absent is kept in the cache, too; if a cache does not say so, its absence is a doubt."""
        if self._hub.try_to_load_from_cache(self.name.repo, name, revision=self.commit) is not None:
            return
        if self.offline:
            doubt = (
                f"the cache of {self.name} holds no {name}, and does not say whether the repository has one; pixels "
                f"may be prepared otherwise than the model wants; run `hf download {self._download_words()}` once"
            )
            if doubt not in self.doubts:
                self.doubts.append(doubt)
            return
        with contextlib.suppress(Exception):  # absent, as the cache now says; or no network, and the next run asks
            self._hub.hf_hub_download(self.name.repo, name, revision=self.commit)

    @contextmanager
    def _explained(self, file: str = "") -> Iterator[None]:
        """Errors of huggingface_hub and of the network below it, as ours."""
        errors, what = self._errors, f"{file} of {self.name}" if file else str(self.name)
        try:
            yield
        except errors.GatedRepoError as error:
            raise InvalidInputError(
                f"{what} is gated: its authors give access on request; accept the terms at "
                f"https://huggingface.co/{self.name.repo} and log in with `hf auth login`"
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise InvalidInputError(
                f"the Hub has no model {self.name.repo}, or it is private; check the name at https://huggingface.co, "
                "or log in with `hf auth login`"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise InvalidInputError(
                f"{self.name.repo} has no revision {self.name.revision!r}; expected a branch, a tag or a commit of it; "
                "leave @REVISION out for its main branch"
            ) from error
        except errors.LocalEntryNotFoundError as error:
            raise InvalidInputError(
                f"{file} is not in the cache of {self.name} at commit {self.commit[:12]}, and "
                f"{'there is no network' if self.offline else 'the Hub does not answer'}; run `hf download "
                f"{self._download_words()} {file}` where there is one"
            ) from error
        except errors.EntryNotFoundError as error:
            raise InvalidInputError(f"{self.name} has no file {file}; its index and its files disagree") from error
        except Exception as error:  # of the HTTP library, which differs between releases of huggingface_hub
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise _UnreachableError(f"the Hub cannot be reached ({first})") from error


class _UnreachableError(InvalidInputError):
    """No network, no answer, or an answer that is none."""


def open_hub_folder(path: str | Path) -> HubFolder:
    """The folder of ``hf:ORG/NAME[@REVISION]``. Raises as HubFolder and parse_name."""
    return HubFolder(parse_name(path))
