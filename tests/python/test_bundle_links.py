"""What lies in a bundle is the bundle's own, and what was checked is what is used: links, and files that change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from test_bundle import add, snapshot
from tiny_bundle import TinyConfig, make_bundle
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge import compile as build_package
from navit_edge.bundle import edit, hashing, publish
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.directory import opened
from navit_edge.bundle.manifest import Manifest
from navit_edge.bundle.staging import staging_directory
from navit_edge.cli.main import app
from navit_edge.compile import precision
from navit_edge.compile import runner as builds
from navit_edge.errors import BundleError

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.navit", TinyConfig(depth=1))


@pytest.fixture
def built(job_bundle: Path, tmp_path: Path) -> Path:
    """A bundle with an engine, to be changed."""
    shutil.copytree(job_bundle, tmp_path / "built.navit")
    return tmp_path / "built.navit"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Files of somebody else's whose names a bundle's files have, too."""
    folder = tmp_path / "outside"
    for name in (
        "a.blob",
        "orphan.plan",
        "build-a.json",
        "build-x.json",
        "parity.json",
        "old-int8.onnx",
        "a-int8.onnx",
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not the bundle's")
    return folder


def engine_file(bundle: Path) -> Path:
    return bundle / manifests.load(bundle).engines[0].file


def logits(bundle: Path) -> np.ndarray[Any, Any]:
    with ne.Session(bundle, threads=1) as session:
        return np.array(session.run([IMAGE])[0].logits)


def add_graph(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    with staging_directory(bundle) as staging:
        (staging / "graph").write_bytes(b"a graph")
        (staging / "report").write_bytes(b"{}")
        graph = msgspec.structs.replace(
            manifest.graphs[0], id="padded-int8", file="graphs/a-int8.onnx", quantization="int8"
        )
        staged = edit.StagedGraph(graph=graph, file=staging / "graph")
        edit.add_graphs(bundle, [staged], staging / "report", "reports/quantize-int8.json", built_from={})


WRITERS: dict[str, Callable[[Path], object]] = {
    "an engine": lambda bundle: add(bundle, ("a", b"1")),
    "a graph": add_graph,
    "a report": lambda bundle: edit.write_report(bundle, "reports/parity.json", b"{}"),
}


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("folder", ["engines", "reports", "graphs"])
def test_nothing_is_written_or_removed_through_a_link_in_the_place_of_a_folder(
    bundle: Path, outside: Path, folder: str, what: str
) -> None:
    before = snapshot(outside)
    if (bundle / folder).exists():
        shutil.rmtree(bundle / folder)
    (bundle / folder).symlink_to(outside)
    manifest = (bundle / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match=f"{folder} is a link; expected a directory of the bundle itself; copy"):
        WRITERS[what](bundle)
    assert snapshot(outside) == before
    assert (bundle / "manifest.json").read_bytes() == manifest
    assert not list(bundle.glob(".building-*"))


def test_a_link_in_the_place_of_a_file_that_is_written_goes_and_its_target_stays(bundle: Path, outside: Path) -> None:
    before = snapshot(outside)
    for name in ("engines/a.blob", "reports/build-a.json", "reports/parity.json", f".manifest.json.{os.getpid()}.tmp"):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).symlink_to(outside / name.rpartition("/")[2])
    (bundle / "engines/orphan.plan").symlink_to(outside / "orphan.plan")  # what sweeping removes
    (bundle / ".building-1").symlink_to(outside)
    add(bundle, ("a", b"1"))
    edit.write_report(bundle, "reports/parity.json", b"{}")
    manifests.save(manifests.load(bundle), bundle)
    assert snapshot(outside) == before
    hashing.verify_files(bundle, manifests.load(bundle))
    assert not (bundle / "engines/orphan.plan").is_symlink()


def test_build_engine_leaves_what_lies_behind_a_bundles_links(built: Path, outside: Path) -> None:
    before = snapshot(outside)
    shutil.rmtree(built / "engines")
    (built / "engines").symlink_to(outside)
    arguments = ["build-engine", str(built), "--backend", "openvino", "--precision", "fp32", "--force"]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 1
    assert "is a link" in " ".join(ran.output.split())
    assert snapshot(outside) == before


def test_a_bundle_may_be_named_by_a_link(built: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.navit"
    link.symlink_to(built)
    add(link, ("a", b"1"))
    edit.write_report(link, "reports/parity.json", b"{}")
    hashing.verify_files(link, manifests.load(link))
    assert link.is_symlink()
    assert (built / "engines/a.blob").read_bytes() == b"1"
    with ne.Session(link, engine=manifests.load(link).engines[0].id, threads=1) as session:
        assert session.run([IMAGE])


def replace_by_link(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


REPLACEMENTS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a link out of the bundle": (lambda path, tmp: replace_by_link(path, tmp / "elsewhere"), "is a link"),
    "a link within the bundle": (lambda path, tmp: replace_by_link(path, path.with_name("real.blob")), "is a link"),
    "its folder a link": (lambda path, tmp: replace_by_link(path.parent, tmp / "elsewhere"), "engines is a link"),
    "a pipe": (lambda path, tmp: (path.unlink(), os.mkfifo(path)), "is a pipe"),
    "a directory": (lambda path, tmp: (path.unlink(), path.mkdir()), "is a folder"),
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_what_is_no_regular_file_of_the_bundle_is_not_verified(built: Path, tmp_path: Path, kind: str) -> None:
    replace, words = REPLACEMENTS[kind]
    name = manifests.load(built).engines[0].file
    replace(built / name, tmp_path)
    manifest = manifests.load(built)
    with pytest.raises(BundleError, match=words):
        hashing.verify_files(built, manifest)
    with pytest.raises(BundleError, match=words):
        hashing.read_file(built, manifest, name)
    assert hashing.missing_files(built, manifest) == [name]
    with pytest.raises(BundleError, match=r"is a link|regular file"):
        ne.Session(built, threads=1)
    for arguments in (["inspect", str(built)], ["inspect", "--verify", str(built)]):
        ran = CliRunner().invoke(app, arguments)
        assert ran.exit_code == 1
        assert words.rpartition(" is ")[2] in " ".join(ran.output.split())


def test_a_link_is_no_part_of_a_bundle_that_is_sealed(bundle: Path, outside: Path) -> None:
    (bundle / "graphs/more.bin").symlink_to(outside / "a.blob")
    with pytest.raises(BundleError, match=r"more\.bin is a link"):
        publish.seal(bundle, manifests.load(bundle))


def test_what_is_read_is_what_was_opened_and_hashed(bundle: Path) -> None:
    """The file is swapped, then cut off, between its pieces."""
    name = "graphs/large.bin"
    content = np.random.default_rng(1).bytes((3 << 20) + 17)
    (bundle / name).write_bytes(content)
    file = hashing.hash_file(bundle / name)
    pieces: list[bytes] = []

    def swap(piece: bytes) -> None:
        pieces.append(piece)
        (bundle / "other").write_bytes(b"x" * len(content))
        os.replace(bundle / "other", bundle / name)

    with opened(bundle) as inside:
        inside.check(name, file.sha256, file.bytes, remedy="", use=swap)
    assert b"".join(pieces) == content

    (bundle / name).write_bytes(content)
    with opened(bundle) as inside, pytest.raises(BundleError, match="changed while it was read"):
        inside.check(name, file.sha256, file.bytes, remedy="", use=lambda piece: os.truncate(bundle / name, 5))
    with (bundle / name).open("wb") as grown, opened(bundle) as inside:
        grown.write(content)
        grown.flush()
        with pytest.raises(BundleError, match="changed while it was read"):
            inside.check(
                name, file.sha256, file.bytes, remedy="", use=lambda piece: (grown.write(piece), grown.flush())
            )


def test_copies_for_a_library_are_checked_as_they_are_made_and_go(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    with hashing.snapshot(bundle, manifest.files) as copies:
        assert copies.stat().st_mode & 0o777 == 0o700
        for name in manifest.files:
            assert (copies / name).read_bytes() == (bundle / name).read_bytes()
    assert not copies.exists()
    (bundle / "graphs/weights.bin").write_bytes(b"x" * manifest.files["graphs/weights.bin"].bytes)
    with (
        pytest.raises(BundleError, match=r"weights\.bin was altered"),
        hashing.snapshot(bundle, manifest.files),
    ):
        pass


READERS: dict[str, tuple[str, int, str, Callable[[Path, Manifest], object]]] = {
    "a report": (
        "reports/build-a.json",
        1 << 40,
        "1,099,511,627,776 bytes; expected at most 67,108,864",
        lambda bundle, manifest: hashing.read_file(bundle, manifest, "reports/build-a.json"),
    ),
    "weights to be copied": (
        "graphs/weights.bin",
        1 << 43,
        "bytes free; expected 8,796,093,",
        lambda bundle, manifest: hashing.snapshot(bundle, manifest.files).__enter__(),
    ),
}


@pytest.mark.parametrize("what", READERS)
def test_what_is_too_large_is_refused_before_it_is_read(bundle: Path, what: str) -> None:
    """Sparse files, which may say any size."""
    name, size, words, read = READERS[what]
    add(bundle, ("a", b"1"))
    try:
        os.truncate(bundle / name, size)
    except OSError:
        pytest.skip("no file of this file system can say so much")
    manifest = manifests.load(bundle)
    file = msgspec.structs.replace(manifest.files[name], bytes=size)
    larger = msgspec.structs.replace(manifest, files={**manifest.files, name: file})
    with pytest.raises(BundleError, match=words):
        read(bundle, larger)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "inner/weights.bin"])
def test_a_graph_takes_weights_from_no_other_place(bundle: Path, location: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(bundle / "graphs/padded.onnx", load_external_data=False)
    precision.load(model.SerializeToString(), "padded.onnx")
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    with pytest.raises(BundleError, match=r"takes its weights from .*; expected the name of a file beside it"):
        precision.load(model.SerializeToString(), "padded.onnx")


def test_an_engine_is_built_from_the_graph_and_weights_that_were_checked(
    built: Path, job_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_worker = builds._run_worker

    def swapped(*arguments: Any) -> Any:
        for name in ("graphs/weights.bin", "graphs/padded.onnx"):
            (built / name).write_bytes(b"\0" * (built / name).stat().st_size)
        return run_worker(*arguments)

    monkeypatch.setattr(builds, "_run_worker", swapped)
    request = build_package.BuildRequest(
        backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,), force=True
    )
    build_package.build_engines(built, request)
    assert np.array_equal(logits(built), logits(job_bundle))


def test_a_session_goes_on_when_its_engines_file_is_cut_off_or_gone(built: Path) -> None:
    """In a process of its own: where a file is mapped, reading behind its end ends the process with SIGBUS."""
    script = """
import os, sys
import numpy as np, navit_edge as ne
image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
session = ne.Session(sys.argv[1], threads=1)
os.truncate(sys.argv[2], 0)
first = np.array(session.run([image])[0].logits)
with open(sys.argv[2], "wb") as file:
    file.write(b"x" * 100)
os.unlink(sys.argv[2])
assert np.array_equal(first, session.run([image])[0].logits)
sys.stdout.write(first.tobytes().hex())
"""
    right = logits(built)
    ran = subprocess.run(
        [sys.executable, "-c", script, str(built), str(engine_file(built))],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert bytes.fromhex(ran.stdout) == right.tobytes()


def test_an_engine_that_was_never_hashed_is_never_run(built: Path) -> None:
    """Its file is swapped for another, and back, while sessions open."""
    right, file = logits(built), engine_file(built)
    good = file.read_bytes()
    other = bytearray(good)
    other[len(other) // 2] ^= 1
    stop = threading.Event()

    def flip() -> None:
        while not stop.is_set():
            for content in (bytes(other), good):
                beside = file.with_name("beside")
                beside.write_bytes(content)
                os.replace(beside, file)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for _ in range(12):
            try:
                assert np.array_equal(logits(built), right)
            except BundleError as error:
                assert "was altered" in str(error)  # noqa: PT017
    finally:
        stop.set()
        thread.join()
