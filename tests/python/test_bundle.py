"""Bundles on disk: published whole or not at all, altered files found, engines added without losing any."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from test_manifest import make_manifest
from tiny_bundle import make_bundle

from navit_edge.bundle import edit, hashing, publish
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Budget, Engine, Manifest
from navit_edge.bundle.staging import staging_directory
from navit_edge.errors import BundleError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny.navit")


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def write_bundle(directory: Path, content: bytes) -> Manifest:
    """A bundle of one file, without engines."""
    (directory / "graphs").mkdir(parents=True)
    (directory / "graphs" / "masked.onnx").write_bytes(content)
    return publish.seal(directory, msgspec.structs.replace(make_manifest(), engines=()))


def test_the_manifest_lists_every_file_with_the_hash_that_hashlib_gives(bundle: Path) -> None:
    files = manifests.load(bundle).files
    on_disk = {name: data for name, data in snapshot(bundle).items() if name != "manifest.json"}
    assert set(files) == set(on_disk) == {"graphs/masked.onnx", "graphs/padded.onnx", "graphs/weights.bin"}
    for name, data in on_disk.items():
        assert (files[name].sha256, files[name].bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def test_an_untouched_bundle_verifies(bundle: Path) -> None:
    hashing.verify_files(bundle, manifests.load(bundle))


def test_a_missing_file_is_named_with_the_remedy(bundle: Path) -> None:
    (bundle / "graphs" / "weights.bin").unlink()
    manifest = manifests.load(bundle)
    assert hashing.missing_files(bundle, manifest) == ["graphs/weights.bin"]
    with pytest.raises(BundleError, match=r"weights\.bin is missing; .* export the model again"):
        hashing.verify_files(bundle, manifest)


@pytest.mark.parametrize("change", ["flip", "append", "truncate"])
def test_one_changed_byte_is_found(bundle: Path, change: str) -> None:
    path = bundle / "graphs" / "weights.bin"
    data = bytearray(path.read_bytes())
    if change == "flip":
        data[len(data) // 2] ^= 1
    elif change == "append":
        data.append(0)
    else:
        data.pop()
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"weights\.bin was altered"):
        hashing.verify_files(bundle, manifests.load(bundle))


def test_a_name_that_the_manifest_does_not_list_is_not_verified(bundle: Path) -> None:
    with pytest.raises(BundleError, match="is not a file of"):
        hashing.verify_files(bundle, manifests.load(bundle), ["../secret"])


# --- whole bundles


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    def export() -> None:
        with publish.staged_bundle(tmp_path / "x.navit") as staging:
            (staging / "half").write_bytes(b"1")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        export()
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_not_complete_is_not_published(tmp_path: Path) -> None:
    def export() -> None:
        with publish.staged_bundle(tmp_path / "x.navit") as staging:
            write_bundle(staging, b"1")
            (staging / "graphs" / "masked.onnx").unlink()

    with pytest.raises(BundleError, match="missing"):
        export()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_replaced_only_on_request(tmp_path: Path) -> None:
    target = tmp_path / "x.navit"
    with publish.staged_bundle(target) as staging:
        write_bundle(staging, b"old")
    with pytest.raises(BundleError, match="exists"), publish.staged_bundle(target):
        pytest.fail("the block must not run")
    assert (target / "graphs" / "masked.onnx").read_bytes() == b"old"
    with publish.staged_bundle(target, overwrite=True) as staging:
        write_bundle(staging, b"new")
    assert (target / "graphs" / "masked.onnx").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x.navit"]


def test_replacing_works_where_the_system_cannot_swap_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *_, **__: object())
    target = tmp_path / "x.navit"
    for content in (b"old", b"new"):
        with publish.staged_bundle(target, overwrite=True) as staging:
            write_bundle(staging, content)
    assert (target / "graphs" / "masked.onnx").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x.navit"]


def test_a_directory_that_is_not_a_bundle_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "precious.jpg").write_bytes(b"x")
    with (
        pytest.raises(BundleError, match=r"is not a bundle \(no manifest\.json\)"),
        publish.staged_bundle(target, overwrite=True),
    ):
        pytest.fail("the block must not run")
    assert (target / "precious.jpg").exists()


def test_a_link_to_a_bundle_stays_a_link_when_the_bundle_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "x.navit").symlink_to(tmp_path / "disk" / "x.navit")
    for content in (b"old", b"new"):
        with publish.staged_bundle(tmp_path / "x.navit", overwrite=True) as staging:
            write_bundle(staging, content)
    assert (tmp_path / "x.navit").is_symlink()
    assert (tmp_path / "disk" / "x.navit" / "graphs" / "masked.onnx").read_bytes() == b"new"


def test_a_full_disk_during_export_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(BundleError, match=r"the disk is full .* MiB free"),
        publish.staged_bundle(tmp_path / "x.navit"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"1")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from navit_edge.bundle import publish
        with publish.staged_bundle(Path(sys.argv[1])) as staging:
            (staging / "half").write_bytes(b"1")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    target = tmp_path / "x.navit"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with publish.staged_bundle(target) as living:
        assert [path.name for path in tmp_path.iterdir()] == [living.name]
        with publish.staged_bundle(target) as second:
            assert living.exists()
            write_bundle(second, b"second")
        write_bundle(living, b"first")
        (target / "manifest.json").unlink()  # make room for the first
        (target / "graphs" / "masked.onnx").unlink()
        (target / "graphs").rmdir()
    assert (target / "graphs" / "masked.onnx").read_bytes() == b"first"


# --- engines


def stage(staging: Path, name: str, content: bytes, *, file: str = "") -> edit.StagedEngine:
    path = staging / f"{name}.blob"
    path.write_bytes(content)
    report = staging / f"build-{name}.json"
    report.write_bytes(b"{}" + content)
    engine = Engine(
        id=name,
        backend="openvino",
        target="cpu",
        precision="fp32",
        graph="padded",
        strategy="similar-length",
        dynamic_tokens=True,
        budgets=(Budget(tokens=8, images=2, target_tokens=8),),
        file=file or f"engines/{name}.blob",
        builder={},
        report=f"reports/build-{name}.json",
    )
    return edit.StagedEngine(engine=engine, file=path, report=report)


def add(bundle: Path, *engines: tuple[str, bytes]) -> list[Engine]:
    with staging_directory(bundle) as staging:
        return edit.add_engines(bundle, [stage(staging, *engine) for engine in engines], built_from={})


def engine_bytes(bundle: Path) -> dict[str, bytes]:
    manifest = manifests.load(bundle)
    hashing.verify_files(bundle, manifest)
    return {engine.id: (bundle / engine.file).read_bytes() for engine in manifest.engines}


def test_an_added_engine_is_listed_hashed_and_after_the_others(bundle: Path) -> None:
    add(bundle, ("a", b"1"))
    add(bundle, ("b", b"2"), ("c", b"3"))
    assert list(engine_bytes(bundle).items()) == [("a", b"1"), ("b", b"2"), ("c", b"3")]
    assert not list(bundle.glob(".*"))


def test_an_engine_that_is_built_again_takes_its_old_place_and_removes_the_old_files(bundle: Path) -> None:
    add(bundle, ("a", b"1"), ("b", b"2"))
    for content in (b"new", b"newer", b"newer"):
        add(bundle, ("a", content))
        assert list(engine_bytes(bundle).items()) == [("a", content), ("b", b"2")]
        assert len(list(bundle.glob("engines/*"))) == len(list(bundle.glob("reports/*"))) == 2


def test_engines_share_a_file_and_it_stays_until_the_last_has_gone(bundle: Path) -> None:
    with staging_directory(bundle) as staging:
        first = stage(staging, "a", b"shared", file="engines/shared.blob")
        second = stage(staging, "b", b"shared", file="engines/shared.blob")
        edit.add_engines(bundle, [first, msgspec.structs.replace(second, file=first.file)], built_from={})
    assert [path.name for path in bundle.glob("engines/*")] == ["shared.blob"]
    add(bundle, ("a", b"own"))
    assert engine_bytes(bundle) == {"a": b"own", "b": b"shared"}
    add(bundle, ("b", b"own too"))
    assert sorted(path.name for path in bundle.glob("engines/*")) == ["a.blob", "b.blob"]


def test_the_manifest_on_disk_is_true_at_every_moment_of_a_replacement(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(bundle, ("a", b"1"), ("b", b"2"))
    real = os.replace
    seen = []

    def checked(source: Path, target: Path, **directories: int) -> None:
        seen.append(engine_bytes(bundle))
        real(source, target, **directories)
        seen.append(engine_bytes(bundle))

    monkeypatch.setattr(os, "replace", checked)
    add(bundle, ("a", b"new"), ("b", b"new b"))
    assert len(seen) == 10  # two engines, two reports, the manifest
    assert all(moment == {"a": b"1", "b": b"2"} for moment in seen[:-1])
    assert seen[-1] == {"a": b"new", "b": b"new b"}


@pytest.mark.parametrize("call", range(1, 6))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_step_of_a_replacement_leaves_the_bundle_as_it_was(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, call: int, code: int
) -> None:
    add(bundle, ("a", b"1"), ("b", b"2"))
    before = snapshot(bundle)
    real = os.replace
    calls = 0

    def failing(source: Path, target: Path, **directories: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(code, os.strerror(code))
        real(source, target, **directories)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(BundleError, match="as it was before"):
            add(bundle, ("a", b"new"), ("c", b"3"))
    assert calls == call
    assert snapshot(bundle) == before
    add(bundle, ("a", b"new"), ("c", b"3"))
    assert engine_bytes(bundle) == {"a": b"new", "b": b"2", "c": b"3"}


def test_a_graph_that_changed_during_the_build_refuses_the_engine(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    stale = msgspec.structs.replace(manifest.files["graphs/padded.onnx"], sha256="f" * 64)
    before = snapshot(bundle)
    with (
        pytest.raises(BundleError, match="changed while the engine was being built"),
        staging_directory(bundle) as staging,
    ):
        edit.add_engines(bundle, [stage(staging, "a", b"1")], built_from={"graphs/padded.onnx": stale})
    assert snapshot(bundle) == before


def test_two_builds_at_once_lose_no_engine(bundle: Path) -> None:
    here = Path(__file__).parent
    script = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(here)!r})
        from test_bundle import add
        for i in range(8):
            add(Path(sys.argv[1]), (f"{{sys.argv[2]}}{{i}}", sys.argv[2].encode() + bytes([i])))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(bundle)]
    processes = [subprocess.Popen([*command, name]) for name in ("x", "y")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    expected = {f"{name}{i}": name.encode() + bytes([i]) for name in ("x", "y") for i in range(8)}
    assert engine_bytes(bundle) == expected


def test_a_build_killed_anywhere_is_swept_by_the_next(bundle: Path) -> None:
    here = Path(__file__).parent
    script = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(here)!r})
        from test_bundle import add
        real, calls = os.replace, 0
        def killed(source, target, **directories):
            global calls
            calls += 1
            if calls == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target, **directories)
        os.replace = killed
        add(Path(sys.argv[1]), ("a", b"new"))
    """
    add(bundle, ("a", b"1"))
    before = snapshot(bundle)
    for call in (1, 2, 3):
        command = [sys.executable, "-c", textwrap.dedent(script), str(bundle), str(call)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert engine_bytes(bundle) == {"a": b"1"}
        with staging_directory(bundle) as staging:
            assert snapshot(bundle) == before
        assert not staging.exists()


def test_sweeping_leaves_files_that_no_build_made(bundle: Path) -> None:
    (bundle / "engines").mkdir()
    (bundle / "engines" / "README").write_text("mine")
    (bundle / "reports").mkdir()
    (bundle / "reports" / "parity.json").write_text("{}")
    (bundle / "engines" / "orphan.plan").write_text("left by a killed build")
    add(bundle, ("a", b"1"))
    assert (bundle / "engines" / "README").exists()
    assert (bundle / "reports" / "parity.json").exists()
    assert not (bundle / "engines" / "orphan.plan").exists()
