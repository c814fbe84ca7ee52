"""What every writer of bundles shares: the lock, directories for what is not complete yet, and what killed builds left.

An engine or a quantized graph is written into a staging directory inside of the bundle and moved from there
(``edit.py``); a whole bundle into one beside its target (``publish.py``). A staging directory is locked for as long as
its writer lives, so what is not locked was left by a writer that was killed, and the next one removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import fnmatch
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.directory import Directory
from navit_edge.bundle.manifest import MANIFEST, Manifest
from navit_edge.errors import BundleError

_STAGING = ".building-"  # staging directories inside of a bundle


@contextlib.contextmanager
def locked(bundle: Path) -> Iterator[Directory]:
    """Holds the bundle's lock (advisory, of the directory itself: it leaves no file and ends with the process).

    Yields the locked directory; ``bundle`` may be a link to it.
    """
    while True:
        try:
            handle = os.open(bundle, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise BundleError(f"{bundle} cannot be opened: {error.strerror}; expected a bundle directory") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_still(bundle, handle):  # else it was replaced while this process waited
                yield Directory(bundle, handle)
                return
        except OSError as error:
            if error.errno in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP):
                raise BundleError(f"{bundle} is on a file system without locks; copy it to a local disk") from error
            raise
        finally:
            os.close(handle)


def _is_still(bundle: Path, handle: int) -> bool:
    opened = os.fstat(handle)
    try:
        named = os.stat(bundle)
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


@contextlib.contextmanager
def staging_directory(bundle: Path) -> Iterator[Path]:
    """Yields a directory inside of ``bundle`` for a build's files; removes it when the block ends.

    Sweeps first what killed builds left: a staging directory is locked for as long as its build lives.
    """
    try:
        with locked(bundle) as directory:
            sweep(directory, manifests.load_in(directory))
            staging, lock = make_staging(Path(os.path.realpath(bundle)), _STAGING)
    except OSError as error:
        raise BundleError(f"cannot write into {bundle}: {error.strerror}; check its permissions") from error
    try:
        with told_of_full_disks(bundle):
            yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)


def sweep(directory: Directory, manifest: Manifest) -> None:
    """Removes what killed builds left; call it under the bundle's lock. Files of other origin stay."""
    sweep_staging(Path(os.path.realpath(directory.root)), _STAGING)
    patterns = {
        "engines": ("*.blob", "*.plan"),
        "reports": ("build-*.json", "quantize-*.json"),
        "graphs": ("*-int8*.onnx", "*-fp8*.onnx"),
    }
    for folder, wanted in patterns.items():
        for entry in directory.names(folder):
            name = f"{folder}/{entry}"
            if name not in manifest.files and any(fnmatch.fnmatchcase(entry, pattern) for pattern in wanted):
                directory.remove(name)
    for entry in directory.names(""):
        if fnmatch.fnmatchcase(entry, f".{MANIFEST}.*.tmp"):
            directory.remove(entry)


def make_staging(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new directory that only this user enters, and the lock that shows that its maker lives."""
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):  # without locks nothing is swept either
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return staging, lock


def sweep_staging(parent: Path, prefix: str) -> None:
    for path in parent.glob(f"{prefix}*"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # a link, or a file
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # its build lives
        finally:
            os.close(handle)


@contextlib.contextmanager
def told_of_full_disks(where: Path) -> Iterator[None]:
    """Raises BundleError if the block meets a full disk; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(where if where.exists() else where.parent).free
        raise BundleError(
            f"the disk is full ({error.strerror}, {free / 2**20:.0f} MiB free) while writing {where}; it is as it was "
            "before; free some space and run the command again"
        ) from error
