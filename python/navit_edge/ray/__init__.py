"""Bundles on a Ray cluster: ``Embed`` for ``ray.data.Dataset.map_batches``, and what `navit-edge run --ray` is made of
(docs/ray.md).

The package of the same name is imported inside functions, as ``import ray``: imports here are absolute.
"""

from navit_edge.ray.embed import Embed

__all__ = ["Embed"]
