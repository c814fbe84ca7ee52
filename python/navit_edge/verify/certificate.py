"""What `navit-edge verify` found: `reports/parity.json`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from navit_edge.bundle import hashing
from navit_edge.bundle.manifest import Manifest, Tolerance
from navit_edge.errors import BundleError
from navit_edge.files import decode_json
from navit_edge.verify.compare import Distance

PARITY = "reports/parity.json"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One property, in words."""

    name: str
    holds: bool
    found: str  # what was measured
    expected: str


class WorstLayer(msgspec.Struct, frozen=True, kw_only=True):
    """Where along the layers the tolerance is first passed."""

    value: str  # of the graph: the first that is past it; "" if all up to `tokens` hold
    after: str  # the last that is within it
    relative: float  # of `value`
    words: str
    graph: str = ""  # file of the graph that these are values of
    probes: dict[str, float] = {}  # value -> relative difference, of those that were looked at


class EngineCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """One engine on one machine."""

    engine: str  # or a group's id
    sha256: str  # of the engine's file, or of the hashes of a group's
    precision: str
    device: str
    host: dict[str, str]
    versions: dict[str, str]
    unix_time: float
    reference: str
    images: str
    tolerance: Tolerance
    distances: dict[str, Distance] = {}
    scaled: dict[str, Distance] = {}  # to an exact decode, if files are decoded at a part of their sides
    checks: tuple[Check, ...] = ()
    worst_layer: WorstLayer | None = None


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """All engines that were examined; one entry an engine and device, the newest."""

    bundle: tuple[Check, ...] = ()  # preprocessing and the float32 graphs, on the last machine that tried
    engines: tuple[EngineCertificate, ...] = ()
    not_run: dict[str, str] = {}  # engine -> why it could not be opened on the last machine that tried

    @property
    def broken(self) -> list[str]:
        """In words, each check that does not hold."""
        named = [("", check) for check in self.bundle]
        named += [(f"{one.engine}: ", check) for one in self.engines for check in one.checks]
        return [
            f"{who}{check.name}: {check.found}, expected {check.expected}" for who, check in named if not check.holds
        ]

    def merged(self, other: Certificate, standing: dict[str, str]) -> Certificate:
        """``other``'s entries over these, without those of engines that were built anew since.

        Args:
            other: The newer one.
            standing: Engine -> sha256 of its file now.
        """
        newer = {(one.engine, one.device) for one in other.engines}
        kept = [
            one
            for one in self.engines
            if (one.engine, one.device) not in newer and standing.get(one.engine) == one.sha256
        ]
        return Certificate(bundle=other.bundle or self.bundle, engines=(*kept, *other.engines), not_run=other.not_run)


def load(bundle: Path, manifest: Manifest) -> Certificate:
    """The bundle's certificate; an empty one if there is none, or what lies there is not what verify wrote."""
    if PARITY not in manifest.files:
        return Certificate()
    try:
        return decode_json(hashing.read_file(bundle, manifest, PARITY), Certificate, source=PARITY)
    except BundleError:
        return Certificate()
