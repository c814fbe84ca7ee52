"""A model repository on disk: ``NAME/config.pbtxt`` and ``NAME/1/model.py``, with the bundle beside it."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from navit_edge.bundle import hashing, staging
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Manifest
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.files import sync_file, sync_folder
from navit_edge.options import whole
from navit_edge.text import without_halves
from navit_edge.triton.config import Kind, config_text, kind_of

#: Triton takes the highest number; a later export may be put beside it by hand.
VERSION = "1"
CONFIG = "config.pbtxt"
#: The class is in the package, which the Python of Triton's Python backend has to have.
MODEL = '''"""For Triton's Python backend, whose Python needs navit-edge and the library of the bundle's engine."""

from navit_edge.triton.model import TritonPythonModel as TritonPythonModel
'''
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What a repository is to have.

    name: of the model, as clients ask for it; "": the bundle's.
    instances: processes with a session each, on every GPU, or on the CPU, whose cores they share out.
    decoupled: each image of a request is a response of its own, as soon as it is ready; else one response for all.
    link: the repository names the bundle by its absolute path; else it holds a copy and stands alone.
    overwrite: a model of that name is replaced.

    Raises InvalidInputError.
    """

    name: str = ""
    instances: int = 1
    decoupled: bool = True
    link: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        count = whole("instances", self.instances, "how many processes, 1 and up")
        if not 1 <= count <= 1024:
            raise InvalidInputError(f"instances is {count}; expected how many processes, 1 to 1024")
        if self.name and not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"name is {self.name!r}; expected letters, digits, '_', '-' and '.', at most 128 and no '.' first; it "
                "is a folder's, and part of the URL"
            )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written. files: paths in the repository."""

    name: str
    version: str
    kind: Kind
    decoupled: bool
    bundle: str  # in the version's folder, or an absolute path
    files: tuple[str, ...]


def export_repository(bundle: Path, repository: Path, request: ExportRequest | None = None) -> Exported:
    """Adds the bundle to a model repository, which is made if there is none; other models in it stay as they are.

    The model appears whole or not at all. Raises BundleError: the bundle is damaged or has no engine, a model of the
    name exists, or the repository cannot be written; InvalidInputError: the bundle's name cannot be a model's.
    """
    request = request or ExportRequest()
    manifest = manifests.load(bundle)
    kind = kind_of(manifest)
    name = request.name or manifest.name
    if not _NAME.fullmatch(name):
        raise InvalidInputError(f"the bundle is called {name!r}, which no model of Triton can be; give another --name")
    target = Path(os.path.realpath(repository)) / name
    if (target.exists() or target.is_symlink()) and not request.overwrite:
        raise BundleError(f"{target} exists; expected a free name; choose another --name or give --overwrite")
    if target.exists() and not (target / CONFIG).is_file():
        raise BundleError(f"{target} exists and is no model of Triton (no {CONFIG}); choose another --name")
    place = os.path.realpath(bundle) if request.link else f"{name}.navit"
    if request.link and without_halves(place) != place:
        raise InvalidInputError(
            f"the path of the bundle, {place!r}, is no UTF-8, which a config has to be; leave out --link"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with staging.told_of_full_disks(target.parent):
            _write(bundle, manifest, target, name, kind, place, request)
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror}; choose another --output") from error
    files = sorted(str(path.relative_to(target.parent)) for path in target.rglob("*") if path.is_file())
    return Exported(
        name=name, version=VERSION, kind=kind, decoupled=request.decoupled, bundle=place, files=tuple(files)
    )


def _write(
    bundle: Path, manifest: Manifest, target: Path, name: str, kind: Kind, place: str, request: ExportRequest
) -> None:
    """Into a folder beside the target, which is renamed; one that a killed export left goes."""
    prefix = f".{name}.building-"
    staging.sweep_staging(target.parent, prefix)
    made, lock = staging.make_staging(target.parent, prefix)
    try:
        made.chmod(0o755)
        version = made / VERSION
        version.mkdir()
        config = config_text(
            manifest,
            name=name,
            kind=kind,
            instances=request.instances,
            decoupled=request.decoupled,
            parameters={"bundle": place},
        )
        (made / CONFIG).write_text(config, encoding="utf-8")
        (version / "model.py").write_text(MODEL, encoding="utf-8")
        if not request.link:
            _copy(bundle, manifest, version / place)
        for path in sorted(made.rglob("*"), reverse=True):  # what is in a folder before the folder
            (sync_folder if path.is_dir() else sync_file)(path)
        if target.exists():
            old = made.with_name(f"{made.name}-old")
            os.rename(target, old)
            os.rename(made, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(made, target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _copy(bundle: Path, manifest: Manifest, target: Path) -> None:
    """Only what the manifest lists, each file as it was when its hash was taken."""
    with hashing.snapshot(bundle, manifest.files, directory=target.parent) as files:
        os.rename(files, target)
    target.chmod(0o755)
    manifests.save(manifest, target)
