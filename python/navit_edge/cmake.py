"""Where an installed package keeps what C and C++ programs are built with: headers, libraries, the CMake package."""

from __future__ import annotations

from pathlib import Path

from navit_edge import _core
from navit_edge.errors import InvalidInputError


def cmake_dir() -> Path:
    """The directory of navit_edge-config.cmake, for ``cmake -Dnavit_edge_DIR=...`` (docs/embedding.md).

    It lies beside the compiled module, in a wheel and in an editable install alike; navit_edge.pc is in
    ``../../pkgconfig`` from there. Raises InvalidInputError if the module was built without installing.
    """
    module = Path(_core.__file__).resolve()
    folder = module.parent / "lib" / "cmake" / "navit_edge"
    if not (folder / "navit_edge-config.cmake").is_file():
        raise InvalidInputError(
            f"there is no navit_edge-config.cmake in {folder}, beside the module {module.name}; it was built in place. "
            "Install the package (pip install . or pip install --editable .), or build the C++ project and install it: "
            "cmake --install BUILD --prefix DIR, then -DCMAKE_PREFIX_PATH=DIR"
        )
    return folder
