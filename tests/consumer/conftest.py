"""What programs of other people are built against: an installed tree, and the wheel."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from trees import Programs, Tree, run_tool

MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def prefix(repository: Path, made_once: MadeOnce) -> Path:
    """An installed tree of a Release build: $NAVIT_EDGE_BUILD_DIR, or the one of `make test`, or a new one."""

    def make(prefix: Path) -> None:
        given = os.environ.get("NAVIT_EDGE_BUILD_DIR")
        folder = Path(given) if given else repository / "build" / "release"
        if not (folder / "CMakeCache.txt").is_file():
            folder = repository / "build" / "consumer"
            run_tool(
                "cmake", "-S", repository, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                "-DNAVIT_EDGE_BUILD_TESTS=OFF", f"-DPython_EXECUTABLE={sys.executable}",
            )  # fmt: skip
        run_tool("cmake", "--build", folder, "--parallel", "2")
        run_tool("cmake", "--install", folder, "--prefix", prefix)

    return made_once("prefix", make)


@pytest.fixture(scope="session")
def site_packages(wheel: Path, made_once: MadeOnce) -> Path:
    """The wheel as pip lays it out, with OpenVINO's package beside it."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        spec = find_spec("openvino")
        assert spec is not None
        assert spec.origin is not None
        (folder / "openvino").symlink_to(Path(spec.origin).parent)

    return made_once("site-packages", make)


@pytest.fixture(scope="session", params=["tree", "wheel"])
def tree(request: pytest.FixtureRequest) -> Tree:
    """Either of the two."""
    if request.param == "tree":
        root: Path = request.getfixturevalue("prefix")
        return Tree("tree", root, next(root.glob("lib*/**/cmake/navit_edge")))
    site: Path = request.getfixturevalue("site_packages")
    code = "from navit_edge.cli.main import main; main()"
    said = run_tool(sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[str(site), *sys.path]!r}; {code}",
                    "--cmake-dir").strip()  # fmt: skip
    return Tree("wheel", site / "navit_edge", Path(said))


@pytest.fixture(scope="session")
def programs(repository: Path, tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """examples/cpp and examples/c, built with warnings as errors."""
    folder = tmp_path_factory.mktemp(f"examples-{tree.kind}")
    for name in ("cpp", "c"):
        run_tool(
            "cmake", "-S", repository / "examples" / name, "-B", folder / name, "-G", "Ninja",
            f"-Dnavit_edge_DIR={tree.cmake_dir}",
            f"-DOpenCV_DIR={repository / 'tests' / 'consumer' / 'opencv_stand_in'}",
            "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror",
            "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror",
        )  # fmt: skip
        run_tool("cmake", "--build", folder / name, "--parallel", "2")
    return Programs(tree, folder / "cpp", folder / "c")


@pytest.fixture(scope="session")
def ppm_files(photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The photographs as binary PPM, 0.ppm and so on."""
    folder = tmp_path_factory.mktemp("ppm")
    paths = []
    for index, image in enumerate(photographs.values()):
        paths.append(folder / f"{index}.ppm")
        Image.fromarray(image).save(paths[-1])
    return paths
