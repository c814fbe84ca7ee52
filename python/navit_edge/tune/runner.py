"""From a bundle and images to a profile: what the search needs, and what is written."""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from navit_edge import _core
from navit_edge.bench.workload import from_files, tokens_of
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.identity import hashes_of, model_hash
from navit_edge.bundle.manifest import Manifest
from navit_edge.compile.common import package_version
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.errors import InvalidInputError
from navit_edge.evaluate.request import reference_engines
from navit_edge.inputs.images import image_files
from navit_edge.machine.cores import usable_cores
from navit_edge.machine.power import Power
from navit_edge.machine.probe import run_probe
from navit_edge.pixels import load_image
from navit_edge.place import check_file_place, write_file
from navit_edge.profile.machine import this_machine
from navit_edge.profile.schema import SCHEMA_VERSION, BundleFacts, Profile, Setup, profile_bytes
from navit_edge.run.rows import offered_shapes
from navit_edge.text import shown
from navit_edge.tune.journal import TuneJournal
from navit_edge.tune.labels import Labels
from navit_edge.tune.recommend import recommend
from navit_edge.tune.search import Search, Step, What
from navit_edge.tune.space import TuneRequest, engines_of, facts_of, name_of, policies, setups
from navit_edge.tune.trial import Answer, Ask, ask_a_process, reference_path

if TYPE_CHECKING:
    import numpy.typing as npt

#: Of the folder beside a profile in which measurements wait for it; it goes when the profile is written.
STATE_SUFFIX = ".tuning"
_LIBRARIES = ("openvino", "tensorrt", "tensorrt-rtx-cu12")


def tune(
    bundle: Path,
    images: Path,
    output: Path,
    request: TuneRequest | None = None,
    *,
    labels: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_step: Callable[[Step], None] = lambda step: None,
    on_refused: Callable[[str], None] = lambda reason: None,
    ask: Callable[[Ask], Answer] = ask_a_process,
    clock: Callable[[], float] = time.monotonic,
) -> Profile:
    """Measures a bundle on this machine, and writes the profile that `Session(profile=...)` takes (docs/tune.md).

    images: a folder, or a file. labels: what `navit-edge evaluate` takes. output: the profile.
    resume: goes on with what a tuning that did not end has measured. overwrite: starts anew, and replaces a profile.
    on_step: before each measurement. on_refused: of images that cannot be decoded. ask: measures. clock: seconds.

    Raises InvalidInputError, BundleError, BackendError, OutputError.
    """
    request = request or TuneRequest()
    manifest = manifests.load(bundle)
    engines = engines_of(manifest, request.engines)
    if request.power:
        Power.read(probe=run_probe).require(request.power)
    check_file_place(output)
    state = output.with_name(output.name + STATE_SUFFIX)
    if output.exists() and not overwrite and not (resume and state.exists()):
        raise InvalidInputError(f"{shown(output)} is there already; --overwrite replaces it, or name another file")
    pixels = _pixels(manifest, images, request, on_refused)
    names = [name_of(engine) for engine in engines]
    model = model_hash(bundle)
    job = {
        "model": model,
        "engines": {name: hashes_of(manifest, name) for name in names},
        "images": _digest(pixels),
        "labels": "" if labels is None else str(labels),
        "request": {
            name: list(value) if isinstance(value, (list, tuple)) else value
            for name, value in vars(request).items()
            if name != "minutes"
        },
        "cores": usable_cores(),
    }
    journal = TuneJournal(state, job, resume=resume, overwrite=overwrite)
    try:
        with _stored(pixels) as (folder, files):
            tokens = Counter(tokens_of(manifest, image.shape[:2]) + manifest.model.prefix_tokens for image in pixels)
            largest = max(tokens_of(manifest, image.shape[:2]) for image in pixels)
            judge = None if labels is None else Labels(bundle, labels, state / "labels").judge
            reference = str(reference_path(folder))

            def measure(what: What, seconds: float, limit_s: float) -> Answer:
                known = journal.known(what)
                if known is not None and not what.make_reference:
                    return known[0]
                begin = time.monotonic()
                answer = ask(
                    Ask(
                        bundle=str(bundle.resolve()),
                        images=files,
                        setup=what.setup,
                        policies=what.policies,
                        seconds=seconds,
                        limit_s=limit_s,
                        max_memory=0 if what.make_reference else request.memory_bytes or 0,
                        together=what.together,
                        reference=reference if what.stage in ("reference", "policy") else "",
                        make_reference=what.make_reference,
                    )
                )
                if answer.complete:
                    journal.add(what, answer, time.monotonic() - begin)
                return answer

            search = Search(
                request=request,
                setups=setups(engines, usable_cores(), request),
                references=_references(manifest, names),
                policies=policies(
                    largest,
                    request,
                    resizes=manifest.preprocess.sizing.rule != "fixed",
                    classes="logits" in offered_shapes(bundle),
                ),
                engines=[facts_of(manifest, engine) for engine in engines],
                tokens=tuple(sorted(tokens.items())),
                images=len(pixels),
                measure=measure,
                clock=clock,
                judge=judge,
                on_step=on_step,
            )
            measured = search.run()
        made = Profile(
            schema_version=SCHEMA_VERSION,
            created_by=_core.__version__,
            bundle=BundleFacts(name=manifest.name, model=model),
            machine=this_machine(probe=run_probe, versions=_versions()),
            measured=measured,
            advice=recommend(measured),
        )
        write_file(output, profile_bytes(made))
    except BaseException:
        journal.close()
        raise
    journal.finish()
    return made


def _references(manifest: Manifest, names: Sequence[str]) -> list[Setup]:
    """Float32 engines first, then the others, each with a session's defaults."""
    of = {name_of(engine): engine.precision for engine in manifest.engines}
    floats = reference_engines(manifest, [(name, of[name]) for name in names])
    order = list(dict.fromkeys([*floats, *names]))
    return [Setup(engine=name, precision=of[name], threads=0, slots=0) for name in order]  # type: ignore[arg-type]


def _pixels(
    manifest: Manifest, images: Path, request: TuneRequest, on_refused: Callable[[str], None]
) -> list[npt.NDArray[np.uint8]]:
    """Decoded, at most ``request.images``, chosen and ordered by the seed alone."""
    if not images.exists():
        raise InvalidInputError(f"{shown(images)}: there is none; expected a folder of images")
    decoder = Decoder(DecodeOptions(), Recorded.of(manifest.preprocess))
    found = image_files([images], recursive=True)
    files = sorted(found.files)
    random.Random(request.seed).shuffle(files)
    workload = from_files(files[: request.images], lambda file: load_image(file, decoder))
    for reason in workload.refused:
        on_refused(reason)
    return list(workload.images)


@contextmanager
def _stored(pixels: Sequence[npt.NDArray[np.uint8]]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """(a folder, the images as files in it), for the processes that measure."""
    with tempfile.TemporaryDirectory(prefix="navit-edge-tune-") as name:
        folder = Path(name)
        paths = []
        for place, image in enumerate(pixels):
            path = folder / f"{place:04}.npy"
            np.save(path, image)
            paths.append(str(path))
        yield folder, tuple(paths)


def _digest(pixels: Sequence[npt.NDArray[np.uint8]]) -> str:
    found = hashlib.sha256()
    for image in pixels:
        found.update(msgspec.json.encode(list(image.shape)))
        found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()[:32]


def _versions() -> dict[str, str]:
    found = {name: package_version(name) for name in _LIBRARIES}
    return {name: version for name, version in found.items() if version != "unknown"}
