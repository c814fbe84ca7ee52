"""What a Jetson board says of itself: model, L4T, JetPack, and the packages that came with it. Reads files only.

Formats: /etc/nv_tegra_release and the nvidia-jetpack package are NVIDIA's (Jetson Linux developer guide);
/proc/device-tree/model is the kernel's; /var/lib/dpkg/status is dpkg's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from navit_edge.machine.text import read_text

#: L4T release -> JetPack, as NVIDIA's JetPack archive pairs them.
_JETPACK = {
    "36.3": "6.0", "36.4": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1",
    "38.2": "7.0", "38.2.1": "7.0", "38.4": "7.1", "39.2": "7.2", "39.2.1": "7.2.1",
}  # fmt: skip
_JETPACK_MAJOR = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7", "39": "7"}


@dataclass(frozen=True, kw_only=True)
class Jetson:
    """model: "NVIDIA Jetson Orin Nano Developer Kit", or "". l4t: "36.4.3", or "". jetpack: "6.2", "6", or ""."""

    model: str
    l4t: str
    jetpack: str
    packages: dict[str, str]  # Debian package -> version, of those that matter here

    @classmethod
    def read(cls, root: Path = Path("/")) -> Jetson | None:
        """None where the machine is no Jetson. ``root``: where /etc, /proc and /var are looked for."""
        model = read_text(root / "proc/device-tree/model").strip()
        release = read_text(root / "etc/nv_tegra_release")
        if not release and "jetson" not in model.lower():
            return None
        packages = debian_packages(root)
        l4t = parse_release(release) or _l4t_of_package(packages.get("nvidia-l4t-core", ""))
        return cls(model=model, l4t=l4t, jetpack=jetpack_of(l4t, packages.get("nvidia-jetpack", "")), packages=packages)


def parse_release(text: str) -> str:
    """ "# R36 (release), REVISION: 4.3, GCID: …" -> "36.4.3"; "" for any other text."""
    match = re.search(r"^#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text, re.MULTILINE)
    return "" if match is None else f"{match[1]}.{match[2].strip('.')}"


def jetpack_of(l4t: str, package: str) -> str:
    """The JetPack of the installed package ("6.2.1+b38"), else of the L4T release; its major alone if no more is
    known."""
    if package:
        return package.partition("+")[0]
    return _JETPACK.get(l4t.removesuffix(".0")) or _JETPACK_MAJOR.get(l4t.partition(".")[0], "")


def debian_packages(root: Path) -> dict[str, str]:
    """Installed packages of NVIDIA's that matter here -> version, from dpkg's own record."""
    found = {}
    for paragraph in read_text(root / "var/lib/dpkg/status").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.+)$", paragraph, re.MULTILINE))
        name = fields.get("Package", "")
        if not fields.get("Status", "").endswith(" installed") or "Version" not in fields:
            continue
        if re.fullmatch(
            r"nvidia-jetpack|nvidia-l4t-core|libnvinfer\d+|libnvinfer-lean\d+|python3-libnvinfer|cuda-cudart-\d+-\d+",
            name,
        ):
            found[name] = fields["Version"]
    return found


def _l4t_of_package(package: str) -> str:
    """ "36.4.3-20250107174145" -> "36.4.3"."""
    match = re.match(r"\d+\.\d+(?:\.\d+)?", package)
    return "" if match is None else match[0]
