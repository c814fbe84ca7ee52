"""`navit-edge verify`: does an engine, on this machine, give the numbers of the float32 graph (docs/verify.md)?"""

from __future__ import annotations

from navit_edge.verify.certificate import Certificate, EngineCertificate
from navit_edge.verify.verify import keep, verify

__all__ = ["Certificate", "EngineCertificate", "keep", "verify"]
