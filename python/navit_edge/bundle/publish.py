"""Bundles on disk: hashed, checked, and published whole or not at all.

A whole bundle (export) is written into a directory beside its target and renamed. An engine (build-engine) or a
quantized graph (quantize) is written into a staging directory inside of the bundle; then, under the bundle's lock, its
files are renamed into place under names that the current manifest does not use, and `manifest.json` is replaced. At
every moment the manifest on disk names only files that are complete, so a build that is killed or runs out of disk
changes nothing; what it left is swept by the next build.

Whatever is written, replaced or removed inside of a bundle goes through the directory that was locked (``inside.py``):
a link in its place is refused, or goes itself, and nothing outside of the bundle is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import fnmatch
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from navit_edge.bundle import manifest as manifest_module
from navit_edge.bundle.directory import Inside
from navit_edge.bundle.hashing import MOST_GRAPH_BYTES as MOST_GRAPH_BYTES
from navit_edge.bundle.hashing import describe_files as describe_files
from navit_edge.bundle.hashing import hash_file as hash_file
from navit_edge.bundle.hashing import missing_files as missing_files
from navit_edge.bundle.hashing import read_file as read_file
from navit_edge.bundle.hashing import snapshot as snapshot
from navit_edge.bundle.hashing import verify_files as verify_files
from navit_edge.bundle.manifest import MANIFEST, Budget, Cost, Engine, File, Graph, Manifest, fsync_directory
from navit_edge.errors import BundleError

_STAGING = ".building-"  # staging directories inside of a bundle


def seal(directory: Path, manifest: Manifest) -> Manifest:
    """Fills ``manifest.files`` from what lies in ``directory`` and writes ``manifest.json``; returns what it wrote."""
    sealed = msgspec.structs.replace(manifest, files=describe_files(directory))
    manifest_module.save(sealed, directory)
    return sealed


# --- a whole bundle ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def staged_bundle(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty directory beside ``target``; publishes it when the block ends well, removes it when it does not.

    The block writes the bundle's files and calls ``seal``.

    Raises:
        BundleError: ``target`` exists and ``overwrite`` is false, or is not a bundle, or the disk is full.
    """
    target = Path(os.path.realpath(target))
    _check_target(target, overwrite)
    prefix = f".{target.name}.building-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_staging(target.parent, prefix)
        staging, lock = _make_staging(target.parent, prefix)
        staging.chmod(0o755)  # it becomes the bundle
    except OSError as error:
        raise BundleError(f"cannot write beside {target}: {error.strerror}; choose another --output") from error
    try:
        yield staging
        publish_bundle(staging, target, overwrite=overwrite)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(target, error) from error
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # gone already where it was published
        os.close(lock)


def publish_bundle(staging: Path, target: Path, *, overwrite: bool = False) -> None:
    """Makes the sealed bundle ``staging`` appear at ``target`` (same file system) in one step.

    Raises:
        BundleError: ``staging`` is not a complete bundle, or ``target`` exists and ``overwrite`` is false or it is
            not a bundle. ``target`` is then as it was.
    """
    target = Path(os.path.realpath(target))
    manifest = manifest_module.load(staging)
    missing = missing_files(staging, manifest)
    if missing:
        raise BundleError(f"{staging} is not complete: {', '.join(missing)} missing; this is a bug in the exporter")
    for name in manifest.files:
        _fsync(staging / name)
    for directory in {(staging / name).parent for name in manifest.files} | {staging}:
        fsync_directory(directory)
    _check_target(target, overwrite)
    try:
        if target.exists():
            with locked(target):
                _exchange(staging, target)
        else:
            os.rename(staging, target)
    except OSError as error:
        raise BundleError(f"{target} could not be published: {error.strerror}; it is as it was before") from error
    fsync_directory(target.parent)
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
    """Swaps two directories in one step (renameat2 with RENAME_EXCHANGE), or in two where the system cannot."""
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


# --- an engine of a bundle --------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(bundle: Path) -> Iterator[Inside]:
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
                yield Inside(bundle, handle)
                return
        except OSError as error:
            if error.errno in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP):
                raise BundleError(f"{bundle} lies on a file system without locks; copy it to a local disk") from error
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
        with locked(bundle) as inside:
            sweep(inside, manifest_module.load_in(inside))
            staging, lock = _make_staging(Path(os.path.realpath(bundle)), _STAGING)
    except OSError as error:
        raise BundleError(f"cannot write into {bundle}: {error.strerror}; check its permissions") from error
    try:
        yield staging
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(bundle, error) from error
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)


class StagedEngine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that lies complete in a staging directory.

    ``engine.file`` and ``engine.report`` are the names wanted in the bundle; ``file`` and ``report`` are where the
    contents lie now. Several engines may share one file.
    """

    engine: Engine
    file: Path
    report: Path


def add_engines(bundle: Path, staged: Sequence[StagedEngine], *, built_from: dict[str, File]) -> list[Engine]:
    """Adds engines to a bundle, all of them or none; an engine with an id that exists takes its place.

    Args:
        bundle: The bundle.
        staged: In order of preference.
        built_from: The files that the engines were built from, as they were then; they must be the same now.

    Returns:
        The engines as they stand in the manifest: where a name is in use by an engine that is being replaced, the
        new file carries the start of its hash, so that the current manifest stays true until the new one stands.
    """
    for item in staged:
        _fsync(item.file)
        _fsync(item.report)
    try:
        with locked(bundle) as inside:
            current = manifest_module.load_in(inside)
            for name, file in built_from.items():
                if current.files.get(name) != file:
                    raise BundleError(
                        f"{bundle / name} changed while the engine was being built; expected the graph it was built "
                        "from; build again"
                    )
            files = dict(current.files)
            moved: dict[Path, str] = {}
            engines: list[Engine] = []
            try:
                for item in staged:
                    names = []
                    for source, wanted in ((item.file, item.engine.file), (item.report, item.engine.report or "")):
                        if source not in moved:
                            description = hash_file(source)
                            name = _free_name(wanted, description, files)
                            inside.place(source, name)
                            files[name] = description
                            moved[source] = name
                        names.append(moved[source])
                    engines.append(msgspec.structs.replace(item.engine, file=names[0], report=names[1]))
                for folder in {name.rpartition("/")[0] for name in moved.values()}:
                    inside.sync(folder)
                manifest_module.save_in(inside, _with_engines(current, engines, files))
            finally:
                sweep(inside, manifest_module.load_in(inside))  # by what stands on disk, however far this came
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(bundle, error) from error
        raise BundleError(f"{bundle} could not be changed: {error.strerror}; it is as it was before") from error
    return engines


def write_report(bundle: Path, name: str, content: bytes) -> None:
    """Puts a report into a bundle, in place of one of that name: `reports/parity.json`.

    A bundle whose writer is killed in the middle has no report of that name; everything else stands.
    """
    path = bundle / name
    with staging_directory(bundle) as staging:
        staged = staging / path.name
        staged.write_bytes(content)
        _fsync(staged)
        try:
            with locked(bundle) as inside:
                current = manifest_module.load_in(inside)
                others = {other: file for other, file in current.files.items() if other != name}
                if len(others) != len(current.files):  # at no moment does a manifest name another content than stands
                    manifest_module.save_in(inside, msgspec.structs.replace(current, files=others))
                files = others | {name: hash_file(staged)}
                inside.place(staged, name)
                inside.sync(name.rpartition("/")[0])
                manifest_module.save_in(inside, msgspec.structs.replace(current, files=files))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _disk_full(bundle, error) from error
            raise BundleError(f"{path} could not be written: {error.strerror}; check its permissions") from error


def regroup(bundle: Path, engines: Sequence[Engine]) -> list[Engine]:
    """Makes engines of the bundle members of the groups that ``engines`` say; returns them as they stand then."""
    try:
        with locked(bundle) as inside:
            current = manifest_module.load_in(inside)
            groups = {engine.id: engine.group for engine in engines}
            moved = {
                engine.id: msgspec.structs.replace(engine, group=groups[engine.id])
                for engine in current.engines
                if engine.id in groups
            }
            merged = tuple(moved.get(engine.id, engine) for engine in current.engines)
            if merged != current.engines:
                manifest_module.save_in(inside, msgspec.structs.replace(current, engines=merged))
    except OSError as error:
        raise BundleError(f"{bundle} could not be changed: {error.strerror}; it is as it was before") from error
    return [moved[engine.id] for engine in engines if engine.id in moved]


def set_cost(bundle: Path, engine: str, cost: Cost, *, budgets: tuple[Budget, ...]) -> None:
    """Stores what was measured of an engine in the manifest: whole or not at all.

    budgets: what the engine had when it was measured; where it was rebuilt with others since, nothing is stored.

    Raises:
        BundleError: The bundle has no such engine any more, or it has other budgets.
    """
    with locked(bundle) as inside:
        current = manifest_module.load_in(inside)
        found = next((one for one in current.engines if one.id == engine), None)
        if found is None or found.budgets != budgets:
            what = "is gone" if found is None else "has other budgets"
            raise BundleError(
                f"{bundle}: engine {engine} {what} since it was measured; expected the engine that was measured; "
                "measure again: navit-edge bench --calibrate"
            )
        engines = tuple(msgspec.structs.replace(one, cost=cost) if one.id == engine else one for one in current.engines)
        manifest_module.save_in(inside, msgspec.structs.replace(current, engines=engines))


def _with_engines(current: Manifest, engines: Sequence[Engine], files: dict[str, File]) -> Manifest:
    """The manifest with ``engines`` in place of their namesakes (or at the end) and without files nobody uses."""
    ids = {engine.id for engine in engines}
    kept = [engine for engine in current.engines if engine.id not in ids]
    first = next((i for i, engine in enumerate(current.engines) if engine.id in ids), None)
    at = len(kept) if first is None else sum(1 for engine in current.engines[:first] if engine in kept)
    merged = (*kept[:at], *engines, *kept[at:])
    used = {engine.file for engine in merged} | {engine.report for engine in merged}
    before = {engine.file for engine in current.engines} | {engine.report for engine in current.engines}
    kept_files = {name: file for name, file in files.items() if name in used or name not in before}
    return msgspec.structs.replace(current, engines=merged, files=kept_files)


class StagedGraph(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that lies complete in a staging directory; ``graph.file`` is the name wanted in the bundle."""

    graph: Graph
    file: Path


def add_graphs(
    bundle: Path, staged: Sequence[StagedGraph], report: Path, report_name: str, *, built_from: dict[str, File]
) -> list[Graph]:
    """Adds graphs and the report on them to a bundle, all or nothing; a graph with an id that exists takes its place.

    Engines that were built from a graph whose content is replaced go with it: they would answer for another graph.

    Args:
        report_name: Wanted in the bundle: "reports/quantize-int8.json". A report of that stem takes its place.
        built_from: The files that the graphs were made from, as they were then; they must be the same now.

    Returns:
        The graphs as they stand in the manifest; see ``add_engines``.
    """
    for path in (*(item.file for item in staged), report):
        _fsync(path)
    try:
        with locked(bundle) as inside:
            current = manifest_module.load_in(inside)
            for name, file in built_from.items():
                if current.files.get(name) != file:
                    raise BundleError(
                        f"{bundle / name} changed while it was being quantized; expected the graph that was there "
                        "before; run the command again"
                    )
            files = dict(current.files)

            def place(source: Path, wanted: str) -> str:
                description = hash_file(source)
                name = _free_name(wanted, description, files)
                inside.place(source, name)
                files[name] = description
                return name

            try:
                graphs = [
                    msgspec.structs.replace(item.graph, file=place(item.file, item.graph.file)) for item in staged
                ]
                placed = place(report, report_name)
                for name in (*(graph.file for graph in graphs), placed):
                    inside.sync(name.rpartition("/")[0])
                manifest_module.save_in(inside, _with_graphs(current, graphs, files, report_name, placed))
            finally:
                sweep(inside, manifest_module.load_in(inside))  # by what stands on disk, however far this came
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(bundle, error) from error
        raise BundleError(f"{bundle} could not be changed: {error.strerror}; it is as it was before") from error
    return graphs


def _with_graphs(
    current: Manifest, graphs: Sequence[Graph], files: dict[str, File], report_name: str, placed: str
) -> Manifest:
    """The manifest with ``graphs`` in place of their namesakes, without what belonged to those alone."""
    new = {graph.id: graph for graph in graphs}
    old = [graph for graph in current.graphs if graph.id in new]
    changed = {graph.id for graph in old if files[new[graph.id].file] != current.files[graph.file]}
    merged = (*(graph for graph in current.graphs if graph.id not in new), *graphs)
    engines = tuple(engine for engine in current.engines if engine.graph not in changed)
    gone = {graph.file for graph in old} | {name for name in current.files if is_version_of(name, report_name)}
    for engine in current.engines:
        if engine.graph in changed:
            gone |= {engine.file, engine.report or engine.file}
    used = {graph.file for graph in merged} | {placed}
    used |= {name for engine in engines for name in (engine.file, engine.report) if name is not None}
    kept = {name: file for name, file in files.items() if name in used or name not in gone}
    return msgspec.structs.replace(current, graphs=merged, engines=engines, files=kept)


def is_version_of(name: str, wanted: str) -> bool:
    """Whether ``name`` is ``wanted`` or what ``_free_name`` may have made of it."""
    stem, dot, extension = wanted.rpartition(".")
    return re.fullmatch(rf"{re.escape(stem)}(\.[0-9a-f]{{12}})?{re.escape(dot + extension)}", name) is not None


def _free_name(wanted: str, description: File, files: dict[str, File]) -> str:
    """``wanted``, or ``wanted`` with the start of its hash where another content has that name."""
    if files.get(wanted, description) == description:
        return wanted
    stem, dot, extension = wanted.rpartition(".")
    return f"{stem}.{description.sha256[:12]}{dot}{extension}"


def sweep(inside: Inside, manifest: Manifest) -> None:
    """Removes what killed builds left; call it under the bundle's lock. Files of other origin stay."""
    _sweep_staging(Path(os.path.realpath(inside.root)), _STAGING)
    patterns = {
        "engines": ("*.blob", "*.plan"),
        "reports": ("build-*.json", "quantize-*.json"),
        "graphs": ("*-int8*.onnx", "*-fp8*.onnx"),
    }
    for folder, wanted in patterns.items():
        for entry in inside.names(folder):
            name = f"{folder}/{entry}"
            if name not in manifest.files and any(fnmatch.fnmatchcase(entry, pattern) for pattern in wanted):
                inside.remove(name)
    for entry in inside.names(""):
        if fnmatch.fnmatchcase(entry, f".{MANIFEST}.*.tmp"):
            inside.remove(entry)


def _make_staging(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new directory that only this user enters, and the lock that shows that its maker lives."""
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):  # without locks nothing is swept either
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return staging, lock


def _sweep_staging(parent: Path, prefix: str) -> None:
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


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_full(where: Path, error: OSError) -> BundleError:
    free = shutil.disk_usage(where if where.exists() else where.parent).free
    return BundleError(
        f"the disk is full ({error.strerror}, {free / 2**20:.0f} MiB free) while writing {where}; it is as it was "
        "before; free some space and run the command again"
    )
