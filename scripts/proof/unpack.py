"""Unpacks what `make gpu-proof-kit` has filled, into a folder of its own, and nothing elsewhere.

python -m proof.unpack KIT TARGET
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import sys
import zipfile
from pathlib import Path

SUMS = "SHA256SUMS"


def main() -> None:
    """Checks every file of the kit first."""
    kit, target = (Path(argument).resolve() for argument in sys.argv[1:])
    check(kit)
    if target.exists():
        shutil.rmtree(target)
    for wheel in sorted((kit / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target / "site")
    shutil.copytree(kit / "libraries", target / "libraries")
    for packed in sorted((target / "libraries").rglob("*.xz")):
        with lzma.open(packed) as source, packed.with_suffix("").open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 22)
        packed.unlink()
    sys.path.insert(0, str(target / "site"))
    from proof.seeded import draw

    for bundle in sorted(kit.glob("*.navit")):
        shutil.copytree(bundle, target / bundle.name)
        draw(target / bundle.name)


def lines(kit: Path) -> list[str]:
    """Of the list, as sha256sum writes it: every file of the kit but the list itself."""
    files = sorted(file for file in kit.rglob("*") if file.is_file() and file.name != SUMS)
    return [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(kit).as_posix()}" for file in files]


def check(kit: Path) -> None:
    """Ends the program if a file is missing, altered or one too many."""
    listed = set((kit / SUMS).read_text(encoding="utf-8").splitlines())
    if wrong := sorted(listed ^ set(lines(kit)), key=lambda line: line[64:]):
        name = wrong[0].split("  ", 1)[-1]
        sys.exit(f"error: {name} is not what {SUMS} says; expected the kit as it was made; copy it again")


if __name__ == "__main__":
    main()
