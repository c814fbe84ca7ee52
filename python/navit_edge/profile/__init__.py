"""Profiles: what `navit-edge tune` found for a bundle on a machine, and presets for boards that nobody tuned."""

from navit_edge.profile.apply import DEFAULT_USE, Applied, apply_profile
from navit_edge.profile.machine import Machine, differences, this_machine
from navit_edge.profile.schema import Profile, Trial, read_profile

__all__ = [
    "DEFAULT_USE",
    "Applied",
    "Machine",
    "Profile",
    "Trial",
    "apply_profile",
    "differences",
    "read_profile",
    "this_machine",
]
