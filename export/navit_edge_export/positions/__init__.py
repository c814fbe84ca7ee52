"""What tells a token where it is: added embeddings (factorized.py, interpolated.py) and rotations (rotary.py)."""

from __future__ import annotations

from navit_edge_export.positions.factorized import FactorizedPositions as FactorizedPositions
from navit_edge_export.positions.grid import grid_of_tokens as grid_of_tokens
from navit_edge_export.positions.interpolated import InterpolatedFactors as InterpolatedFactors
from navit_edge_export.positions.interpolated import InterpolatedTable as InterpolatedTable
from navit_edge_export.positions.interpolated import Resampling as Resampling
from navit_edge_export.positions.rotary import RotaryLayers as RotaryLayers
from navit_edge_export.positions.rotary import RotaryPositions as RotaryPositions
from navit_edge_export.positions.rotary import Rotation as Rotation
from navit_edge_export.positions.rotary import halves_from_pairs as halves_from_pairs
