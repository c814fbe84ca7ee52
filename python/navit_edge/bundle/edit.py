"""What changes a bundle that stands: engines, quantized graphs, reports and measured costs, each whole or not at all.

``edit`` is the one transaction. Under the bundle's lock, files go into place under names that the current manifest
does not use, and ``manifest.json`` is replaced. So at every moment the manifest on disk names only files that are
complete: a writer that is killed or runs out of disk changes nothing, and the next one sweeps what it left.

Whatever is written, replaced or removed goes through the directory that was locked (``directory.py``): a link in its
place is refused, or goes itself, and nothing outside of the bundle is touched.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.directory import Directory
from navit_edge.bundle.hashing import hash_file
from navit_edge.bundle.manifest import Budget, Cost, Engine, File, Graph, Manifest, TextEngine, TextTower
from navit_edge.bundle.staging import locked, staging_directory, sweep, told_of_full_disks
from navit_edge.errors import BundleError
from navit_edge.files import sync_file


class Edit:
    """A bundle under its lock: its ``manifest`` as it was found, and ``files``, those and what was placed since."""

    def __init__(self, directory: Directory) -> None:
        self.manifest = manifests.load_in(directory)
        manifests.require_writable(self.manifest, source=str(directory.root))
        self.files = dict(self.manifest.files)
        self.placed: dict[Path, str] = {}  # where it lay -> its name in the bundle
        self._directory = directory

    def require_unchanged(self, built_from: Mapping[str, File], *, what: str) -> None:
        """Raises BundleError if a file is another than it was when the work began."""
        for name, file in built_from.items():
            if self.manifest.files.get(name) != file:
                raise BundleError(f"{self._directory.root / name} changed while {what}")

    def place(self, source: Path, wanted: str, *, replace: bool = False) -> str:
        """Moves a file in, once, and returns its name: ``wanted``, or ``wanted`` with the start of its hash if the
        manifest lists another file of that name. So the current manifest stays true until the new one stands.

        replace: It takes the place of the one of that name, which no manifest lists meanwhile.
        """
        if source not in self.placed:
            sync_file(source)
            description = hash_file(source)
            if replace and self.files.pop(wanted, None) is not None:
                self.save(msgspec.structs.replace(self.manifest, files=self.files))
            name = _free_name(wanted, description, self.files)
            self._directory.place(source, name)
            self.files[name] = description
            self.placed[source] = name
        return self.placed[source]

    def save(self, manifest: Manifest) -> None:
        """Makes what was placed durable, and ``manifest`` the bundle's own."""
        for folder in {name.rpartition("/")[0] for name in self.placed.values()}:
            self._directory.sync(folder)
        manifests.save_in(self._directory, manifest)

    def sweep(self) -> None:
        """By what stands on disk, however far this came."""
        sweep(self._directory, manifests.load_in(self._directory))


@contextlib.contextmanager
def edit(bundle: Path) -> Iterator[Edit]:
    """Holds the bundle's lock for a change. Raises BundleError if it cannot be written; it is then as it was."""
    try:
        with told_of_full_disks(bundle), locked(bundle) as directory:
            change = Edit(directory)
            try:
                yield change
            finally:
                if change.placed:
                    change.sweep()
    except OSError as error:
        raise BundleError(f"{bundle} could not be changed: {error.strerror}; it is as it was before") from error


def unwritable(bundle: Path) -> str:
    """Why a bundle cannot be changed, found out by a file that is made and removed; "" if it can, or is none."""
    try:
        with staging_directory(bundle):
            return ""
    except BundleError as error:
        return str(error) if isinstance(error.__cause__, OSError) and bundle.is_dir() else ""


class StagedEngine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that lies complete in a staging directory.

    ``engine.file`` and ``engine.report`` are the names wanted in the bundle; ``file`` and ``report`` are where the
    contents lie now. Several engines may share one file.
    """

    engine: Engine
    file: Path
    report: Path


def add_engines(bundle: Path, staged: Sequence[StagedEngine], *, built_from: Mapping[str, File]) -> list[Engine]:
    """Adds engines to a bundle, all of them or none; an engine with an id that exists takes its place.

    bundle: The bundle.
    staged: In order of preference.
    built_from: The files that the engines were built from, as they were then; they must be the same now.

    Returns the engines as they stand in the manifest, with the names that their files got (``Edit.place``).
    """
    with edit(bundle) as change:
        change.require_unchanged(
            built_from,
            what="the engine was being built; expected the graph it was built from; build again",
        )
        engines = [
            msgspec.structs.replace(
                item.engine,
                file=change.place(item.file, item.engine.file),
                report=change.place(item.report, item.engine.report or ""),
            )
            for item in staged
        ]
        change.save(_with_engines(change.manifest, engines, change.files))
    return engines


def add_text_engines(bundle: Path, staged: Sequence[StagedEngine], *, built_from: Mapping[str, File]) -> list[Engine]:
    """The same for engines of the text tower, which the manifest has by themselves and without budgets."""
    with edit(bundle) as change:
        change.require_unchanged(
            built_from,
            what="the engine was being built; expected the text graph it was built from; build again",
        )
        tower = change.manifest.text
        if not isinstance(tower, TextTower):
            raise BundleError(f"{bundle} has no text tower any more; export it with --text, and build again")
        engines = [
            msgspec.structs.replace(
                item.engine,
                file=change.place(item.file, item.engine.file),
                report=change.place(item.report, item.engine.report or ""),
            )
            for item in staged
        ]
        made = [
            TextEngine(**{name: getattr(engine, name) for name in TextEngine.__struct_fields__}) for engine in engines
        ]
        ids = {engine.id for engine in made}
        merged = (*(engine for engine in tower.engines if engine.id not in ids), *made)
        used = {name for engine in merged for name in (engine.file, engine.report)}
        gone = {name for engine in tower.engines for name in (engine.file, engine.report)} - used
        files = {name: file for name, file in change.files.items() if name not in gone}
        tower = msgspec.structs.replace(tower, engines=merged)
        change.save(msgspec.structs.replace(change.manifest, text=tower, files=files))
    return engines


def write_report(bundle: Path, name: str, content: bytes) -> None:
    """Puts a report into a bundle, in place of one of that name: `reports/parity.json`.

    A bundle whose writer is killed in the middle has no report of that name; everything else stands.
    """
    with staging_directory(bundle) as staging:
        staged = staging / Path(name).name
        staged.write_bytes(content)
        with edit(bundle) as change:
            change.place(staged, name, replace=True)
            change.save(msgspec.structs.replace(change.manifest, files=change.files))


def regroup(bundle: Path, engines: Sequence[Engine]) -> list[Engine]:
    """Makes engines of the bundle members of the groups that ``engines`` say; returns them as they stand then."""
    groups = {engine.id: engine.group for engine in engines}
    with edit(bundle) as change:
        moved = {
            engine.id: msgspec.structs.replace(engine, group=groups[engine.id])
            for engine in change.manifest.engines
            if engine.id in groups
        }
        merged = tuple(moved.get(engine.id, engine) for engine in change.manifest.engines)
        if merged != change.manifest.engines:
            change.save(msgspec.structs.replace(change.manifest, engines=merged))
    return [moved[engine.id] for engine in engines if engine.id in moved]


def set_cost(bundle: Path, engine: str, cost: Cost, *, budgets: tuple[Budget, ...]) -> None:
    """Stores what was measured of an engine in the manifest: whole or not at all.

    budgets: what the engine had when it was measured; if it was rebuilt with others since, nothing is stored.

    Raises BundleError: The bundle has no such engine any more, or it has other budgets.
    """
    with edit(bundle) as change:
        found = next((one for one in change.manifest.engines if one.id == engine), None)
        if found is None or found.budgets != budgets:
            what = "is gone" if found is None else "has other budgets"
            raise BundleError(
                f"{bundle}: engine {engine} {what} since it was measured; expected the engine that was measured; "
                "measure again: navit-edge bench --calibrate"
            )
        costed = msgspec.structs.replace(found, cost=cost)
        engines = tuple(costed if one is found else one for one in change.manifest.engines)
        change.save(msgspec.structs.replace(change.manifest, engines=engines))


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
    bundle: Path, staged: Sequence[StagedGraph], report: Path, report_name: str, *, built_from: Mapping[str, File]
) -> list[Graph]:
    """Adds graphs and the report on them to a bundle, all or nothing; a graph with an id that exists takes its place.

    Engines that were built from a graph whose content is replaced go with it: they would answer for another graph.

    report_name: Wanted in the bundle: "reports/quantize-int8.json". A report of that stem takes its place.
    built_from: The files that the graphs were made from, as they were then; they must be the same now.

    Returns the graphs as they stand in the manifest; see ``add_engines``.
    """
    with edit(bundle) as change:
        change.require_unchanged(
            built_from,
            what="it was being quantized; expected the graph that was there before; run the command again",
        )
        graphs = [msgspec.structs.replace(item.graph, file=change.place(item.file, item.graph.file)) for item in staged]
        placed = change.place(report, report_name)
        change.save(_with_graphs(change.manifest, graphs, change.files, report_name, placed))
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
    """``wanted``, or ``wanted`` with the start of its hash if another content has that name."""
    if files.get(wanted, description) == description:
        return wanted
    stem, dot, extension = wanted.rpartition(".")
    return f"{stem}.{description.sha256[:12]}{dot}{extension}"
