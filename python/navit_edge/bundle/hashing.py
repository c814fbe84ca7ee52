"""The files that a manifest names: hashed, checked, and handed out as what was checked."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from navit_edge.bundle.directory import Directory, digest, opened
from navit_edge.bundle.manifest import MANIFEST, File, Manifest, is_inside
from navit_edge.errors import BundleError
from navit_edge.files import open_checked

#: A report is some kilobytes; a graph, whose weights are apart, what protobuf can hold.
MOST_REPORT_BYTES = 64 << 20
MOST_GRAPH_BYTES = (2 << 30) - 1


def hash_file(path: Path, *, follow_links: bool = False) -> File:
    """SHA-256 and size of a regular file, read once. Raises OSError, also for a link that is not to be followed."""

    def check(found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))

    handle = open_checked(path, check, follow_links=follow_links)
    try:
        sha256, size = digest(handle)
    finally:
        os.close(handle)
    return File(sha256=sha256, bytes=size)


def describe_files(root: Path) -> dict[str, File]:
    """Every file under ``root`` but the manifest and hidden ones, by its name in the bundle ("graphs/masked.onnx").

    Raises BundleError for a link: a bundle is what it holds.
    """
    names = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    found = {}
    with opened(root) as inside:
        for name in (name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)):
            if name != MANIFEST:
                with inside.open(name) as handle:
                    sha256, size = digest(handle)
                found[name] = File(sha256=sha256, bytes=size)
    return found


def missing_files(bundle: Path, manifest: Manifest) -> list[str]:
    """Names that the manifest lists and the bundle lacks: what is a link, or no regular file, is not there."""
    with opened(bundle) as inside:
        return [name for name in manifest.files if not inside.has(name)]


def verify_files(bundle: Path, manifest: Manifest, names: Iterable[str] | None = None) -> None:
    """Checks size and SHA-256 of ``names``, or of every file. Raises BundleError at the first that differs.

    What is read later may differ again: who goes on to use the content takes it from ``read_file`` or ``snapshot``.
    """
    with opened(bundle) as inside:
        for name in manifest.files if names is None else names:
            _check(inside, manifest.files, name)


def read_file(bundle: Path, manifest: Manifest, name: str, *, most_bytes: int = MOST_REPORT_BYTES) -> bytes:
    """The content of a file, whose size and SHA-256 are those of the manifest.

    Raises BundleError, before it is opened if the manifest gives it more than ``most_bytes``.
    """
    expected = manifest.files.get(name)
    if expected is not None and expected.bytes > most_bytes:
        raise BundleError(
            f"{bundle / name} has {expected.bytes:,} bytes; expected at most {most_bytes:,}; {_remedy(name)}"
        )
    pieces: list[bytes] = []
    with opened(bundle) as inside:
        _check(inside, manifest.files, name, pieces.append)
    return b"".join(pieces)


@contextlib.contextmanager
def snapshot(bundle: Path, files: Mapping[str, File], *, directory: Path | None = None) -> Iterator[Path]:
    """Copies of files under the same names in a directory that only this user enters, checked as they were copied.

    For libraries that open files by their paths, a graph and the weights beside it. The copies go when the block ends.

    files: Name in the bundle -> what it must hold.
    directory: Where the copies' directory is made; where temporary files go by default.

    Raises BundleError: A file is missing, no regular file, or differs; or there is no room for the copies.
    """
    size = sum(file.bytes for file in files.values())
    free = shutil.disk_usage(directory or tempfile.gettempdir()).free
    remedy = "name another directory in TMPDIR" if directory is None else "free some space"
    full = (
        f"{directory or tempfile.gettempdir()} has {free:,} bytes free; expected {size:,} for a copy of the graphs of "
        f"{bundle}; {remedy} and run the command again"
    )
    if size > free:
        raise BundleError(full)
    with tempfile.TemporaryDirectory(prefix="navit-edge-", dir=directory, ignore_cleanup_errors=True) as made:
        root = Path(made)
        try:
            with opened(bundle) as inside:
                for name in files:
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    with (root / name).open("xb") as copy:
                        _check(inside, files, name, copy.write)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise BundleError(full) from error
        yield root


def _check(
    inside: Directory, files: Mapping[str, File], name: str, use: Callable[[bytes], object] | None = None
) -> None:
    expected = files.get(name)
    if expected is None or not is_inside(name):
        raise BundleError(f"{name!r} is not a file of {inside.root}; it lists {', '.join(files) or 'none'}")
    inside.check(name, expected.sha256, expected.bytes, remedy=_remedy(name), use=use)


def _remedy(name: str) -> str:
    if name.startswith("engines/"):
        return "build the engine again with `navit-edge build-engine … --force`"
    return "copy the bundle again or export the model again"
