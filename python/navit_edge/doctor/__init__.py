"""`navit-edge doctor`: what this machine has, what a bundle needs, and the command that mends each mismatch."""

from navit_edge.doctor.examine import examine
from navit_edge.doctor.finding import Finding, Report, Section, State

__all__ = ["Finding", "Report", "Section", "State", "examine"]
