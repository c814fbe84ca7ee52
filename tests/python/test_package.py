"""The wheel: small, without other people's libraries, light to import, clear where an optional package is missing."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import navit_edge as ne

MOST_WHEEL_BYTES = 5_000_000
#: The core has its minor version in its name (tests/consumer/test_versions.py says why).
CORE = f"libnavit_edge.so.{'.'.join(ne.__version__.split('.')[:2])}"
OWN_LIBRARIES = {CORE, "libnavit_edge_openvino.so", "libnavit_edge_tensorrt.so", "_core"}


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked into a folder of its own: no openvino lies beside it."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(code: str, *, path: Path | None = None, arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, with ``path`` first in sys.path."""
    prelude = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    return subprocess.run(
        [sys.executable, "-c", prelude + code, *arguments], capture_output=True, text=True, check=False
    )


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_WHEEL_BYTES, f"{wheel.name} has {wheel.stat().st_size} bytes"


def test_the_wheel_holds_no_library_of_others(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    libraries = [Path(name).name for name in names if ".so" in name or name.endswith((".a", ".dylib", ".dll"))]
    assert {CORE, "libnavit_edge_openvino.so"} <= set(libraries)
    assert len(libraries) == len(set(libraries))
    for library in libraries:
        assert library in OWN_LIBRARIES or library.startswith("_core."), library


def test_the_wheel_needs_only_what_every_linux_has_and_the_library_that_make_wheels_leaves_out(
    installed: Path, repository: Path
) -> None:
    """auditwheel's own check, which needs one of its containers: it would copy what is not listed there."""
    system = r"lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so\.\d|ld-linux-[\w-]+\.so\.\d"
    (left_out,) = re.findall(r"auditwheel repair --exclude '([^']+)'", (repository / "pyproject.toml").read_text())
    needed = {}
    for library in (path for path in installed.rglob("*.so*") if path.is_file()):
        listed = subprocess.run(["readelf", "--dynamic", library], capture_output=True, text=True, check=True).stdout
        needed[library.name] = re.findall(r"\(NEEDED\).*\[(.*)\]", listed)
    others = {name for names in needed.values() for name in names if not re.fullmatch(system, name)}
    assert {name for name in others if not fnmatch.fnmatch(name, left_out)} == {CORE}
    assert len(others) == 2, others


def test_the_wheel_holds_both_packages_whole_their_types_and_the_licence(repository: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        path.relative_to(root).as_posix()
        for root in (repository / "python", repository / "export")
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in root.rglob(pattern)
    }
    assert {"navit_edge/_core.pyi", "navit_edge/py.typed", "navit_edge_export/model/navit.py"} <= sources
    assert sources - names == set()
    assert any(name.endswith("LICENSE") for name in names)
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"navit_edge", "navit_edge_export"}


@pytest.mark.parametrize("module", ["navit_edge", "navit_edge.cli.main", "navit_edge_export"])
def test_importing_brings_in_nothing_heavy(module: str) -> None:
    finished = python(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")
    assert finished.returncode == 0, finished.stderr
    loaded = {name.partition(".")[0] for name in json.loads(finished.stdout)}
    heavy = {"torch", "onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "polygraphy", "PIL"}
    assert loaded.isdisjoint(heavy)


def test_importing_navit_edge_loads_numpy_msgspec_and_what_a_session_needs() -> None:
    """benchmarks/cold_start.py measures how long that takes; here it is what decides it: which modules are loaded."""
    code = "import json, sys; old = set(sys.modules); import navit_edge; print(json.dumps([*set(sys.modules) - old]))"
    finished = python(code)
    assert finished.returncode == 0, finished.stderr
    loaded = set(json.loads(finished.stdout))
    tops = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert tops - {"typing_extensions"} == {"navit_edge", "numpy", "msgspec"}  # msgspec takes the first on old Pythons
    commands = ("build", "verify", "quantize", "bench", "doctor", "run", "cli")
    assert {name for name in loaded if name.startswith(tuple(f"navit_edge.{part}" for part in commands))} == set()
    slow = {"asyncio", "multiprocessing", "subprocess", "http", "ssl", "email", "unittest", "xml"}
    assert loaded.isdisjoint(slow)


#: Opens the bundle of its argument with the package that lies first in sys.path, with no other openvino than what that
#: folder holds, and prints the error.
WITHOUT_OPENVINO = """
import importlib.util, sys
place = sys.path[0]
real = importlib.util.find_spec
def beside_the_package(name, *rest):
    if name != "openvino":
        return real(name, *rest)
    paths, sys.path[:] = sys.path[:], [place]
    try:
        return real(name, *rest)
    finally:
        sys.path[:] = paths
importlib.util.find_spec = beside_the_package
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__.lower()]
import navit_edge as ne
assert ne.__file__.startswith(place), ne.__file__
try:
    ne.Session(sys.argv[1])
except ne.BackendError as error:
    print(error)
"""


def test_a_bundle_without_openvino_installed_says_what_to_install(installed: Path, tiny_bundle: Path) -> None:
    finished = python(WITHOUT_OPENVINO, path=installed, arguments=(str(tiny_bundle),))
    assert finished.returncode == 0, finished.stderr
    first, *reasons = finished.stdout.splitlines()
    assert f"`navit-edge doctor {tiny_bundle}`" in first
    (reason,) = {line.partition(": ")[2] for line in reasons if "openvino" in line}
    assert reason.startswith(
        f"backend 'openvino' did not load: OpenVINO {version('openvino')} is not found (libopenvino"
    )
    assert reason.endswith('pip install "navit-edge[openvino]"')


def test_an_openvino_of_another_release_is_named_beside_the_one_that_is_needed(
    installed: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
    libraries = tmp_path / "openvino" / "libs"
    libraries.mkdir(parents=True)
    (tmp_path / "openvino" / "__init__.py").touch()
    (libraries / "libopenvino.so.2530").write_bytes(b"of another release")
    finished = python(WITHOUT_OPENVINO, path=tmp_path, arguments=(str(tiny_bundle),))
    assert finished.returncode == 0, finished.stderr
    assert f"it needs OpenVINO {version('openvino')} (libopenvino.so." in finished.stdout
    found = f"found OpenVINO 2025.3.0 ({libraries / 'libopenvino.so.2530'})"
    assert f'{found}; pip install "navit-edge[openvino]"' in finished.stdout


def test_export_without_torch_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    code = """
import sys
sys.modules["torch"] = None
sys.argv = ["navit-edge", "export", "--model", "ti16", "-o", sys.argv[1]]
from navit_edge.cli.main import main
main()
"""
    finished = python(code, path=installed, arguments=(str(tmp_path / "x.navit"),))
    assert finished.returncode == 1
    assert "torch" in finished.stderr
    assert "navit-edge[export]" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_version_is_one_number(repository: Path, wheel: Path) -> None:
    (line,) = (x for x in (repository / "pyproject.toml").read_text().splitlines() if x.startswith("version = "))
    version = line.partition('"')[2].rstrip('"')
    assert ne.__version__ == version
    assert wheel.name.startswith(f"navit_edge-{version}-")


def test_the_photographs_of_the_demo_are_in_the_wheels_of_their_packages(repository: Path) -> None:
    """The demo must not download: every file that it takes is one that the package itself installs."""
    sys.path.insert(0, str(repository / "examples"))
    try:
        from photographs import PHOTOGRAPHS
    finally:
        sys.path.pop(0)
    assert len(PHOTOGRAPHS) >= 6
    for photograph in PHOTOGRAPHS:
        spec = find_spec(photograph.package)
        assert spec is not None
        assert spec.origin is not None
        assert (Path(spec.origin).parent / photograph.file).is_file(), photograph
