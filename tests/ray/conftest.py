"""The cluster that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from several_nodes import RayCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two nodes with a processor each, beside one that has none and to which drivers connect."""
    made = RayCluster(1, 1)
    try:
        yield made
    finally:
        made.close()
