"""A whole bundle: written into a directory beside its target, and renamed, so that it appears whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.hashing import describe_files, missing_files
from navit_edge.bundle.manifest import MANIFEST, Manifest
from navit_edge.bundle.staging import locked, make_staging, sweep_staging, told_of_full_disks
from navit_edge.errors import BundleError
from navit_edge.files import sync_file, sync_folder


def seal(directory: Path, manifest: Manifest) -> Manifest:
    """Fills ``manifest.files`` from what lies in ``directory`` and writes ``manifest.json``; returns what it wrote."""
    sealed = msgspec.structs.replace(manifest, files=describe_files(directory))
    manifests.save(sealed, directory)
    return sealed


@contextlib.contextmanager
def staged_bundle(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty directory beside ``target``; publishes it when the block ends well, removes it when it does not.

    The block writes the bundle's files and calls ``seal``.

    Raises BundleError: ``target`` exists and ``overwrite`` is false, or is not a bundle, or the disk is full.
    """
    target = Path(os.path.realpath(target))
    _check_target(target, overwrite)
    prefix = f".{target.name}.building-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_staging(target.parent, prefix)
        staging, lock = make_staging(target.parent, prefix)
        staging.chmod(0o755)  # it becomes the bundle
    except OSError as error:
        raise BundleError(f"cannot write beside {target}: {error.strerror}; choose another --output") from error
    try:
        with told_of_full_disks(target):
            yield staging
            publish_bundle(staging, target, overwrite=overwrite)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # gone already if it was published
        os.close(lock)


def publish_bundle(staging: Path, target: Path, *, overwrite: bool = False) -> None:
    """Makes the sealed bundle ``staging`` appear at ``target`` (same file system) in one step.

    Raises BundleError: ``staging`` is not a complete bundle, or ``target`` exists and ``overwrite`` is false or it is
        not a bundle. ``target`` is then as it was.
    """
    target = Path(os.path.realpath(target))
    manifest = manifests.load(staging)
    missing = missing_files(staging, manifest)
    if missing:
        raise BundleError(f"{staging} is not complete: {', '.join(missing)} missing; this is a bug in the exporter")
    for name in manifest.files:
        sync_file(staging / name)
    for directory in {(staging / name).parent for name in manifest.files} | {staging}:
        sync_folder(directory)
    _check_target(target, overwrite)
    try:
        if target.exists():
            with locked(target):
                _exchange(staging, target)
        else:
            os.rename(staging, target)
    except OSError as error:
        raise BundleError(f"{target} could not be published: {error.strerror}; it is as it was before") from error
    sync_folder(target.parent)
    if staging.exists():  # now the old bundle
        shutil.rmtree(staging, ignore_errors=True)


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise BundleError(f"{target} exists and is not a directory; expected a free name or a bundle; remove it first")
    if not any(target.iterdir()):
        return
    if not (target / MANIFEST).is_file() or (target / MANIFEST).is_symlink():
        raise BundleError(f"{target} exists and is not a bundle (no {MANIFEST}); choose another --output")
    if not overwrite:
        raise BundleError(f"{target} exists; expected a free name; choose another --output or give --overwrite")


def _exchange(one: Path, other: Path) -> None:
    """Swaps two directories in one step (renameat2 with RENAME_EXCHANGE), or in two if the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    at_fdcwd, rename_exchange = -100, 2
    if renameat2 is not None:
        if renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code))
    aside = Path(tempfile.mkdtemp(prefix=f".{other.name}.old-", dir=other.parent))
    os.rename(other, aside / "bundle")
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside / "bundle", other)
        raise
    shutil.rmtree(aside, ignore_errors=True)
