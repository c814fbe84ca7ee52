"""``Embed``: a bundle as the function of ``ray.data.Dataset.map_batches``."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from navit_edge.errors import InvalidInputError
from navit_edge.policy import Policy
from navit_edge.ray import columns
from navit_edge.ray.fetch import load
from navit_edge.ray.images import run_together

if TYPE_CHECKING:
    from navit_edge.session import Result

#: Where images are looked for if nothing is said, the first that there is: Ray's readers name them so.
INPUTS = ("image", "bytes", "path", "url", "item")
#: What rows can be given of each image, besides ``grid``, ``tokens`` and ``error``.
OUTPUTS = ("embedding", "logits", "top_k")


class Embed:
    """A session in a Ray actor::

        dataset.map_batches(Embed, fn_constructor_kwargs={"bundle": "model.navit"}, concurrency=4, num_cpus=2)

    The rows of a batch get more columns, the images that failed too:

    * ``embedding``, ``logits``: float32 lists of a fixed size; null (NaN in numpy batches) if the image failed.
    * ``labels`` and ``scores`` with "top_k": the best classes, best first; labels are numbers if the bundle has none.
    * ``grid``: (rows, columns) in patches; ``tokens``: how many; 0 if the image failed.
    * ``error``: what is wrong with the image; null if nothing is.

    bundle: the ``.navit`` directory, at the same path on every node.
    column: of the images: paths, URLs of a file system that fsspec knows, the bytes of image files, or uint8 arrays.
        None: the first that there is of image, bytes, path, url and item. Unless it holds paths or URLs, it is left
        out of what comes back.
    outputs: any of "embedding", "logits" and "top_k"; None: embedding if the bundle has it, else logits.
    top_k: how many classes, with "top_k".
    policy: how many tokens an image gets, as text or ``navit_edge.Policy``; None: native.
    storage_options: of fsspec, for URLs.
    fetchers: threads that fetch and decode; 0: two for each CPU of the actor.
    session: further arguments of ``navit_edge.Session``. ``threads`` is the actor's CPUs (num_cpus), ``device`` "gpu"
        if it has one (num_gpus), unless they are given.

    A batch is planned as a whole: the larger ``batch_size``, the fuller the packs. Raises BundleError, BackendError and
    InvalidInputError.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        column: str | None = None,
        outputs: Sequence[str] | None = None,
        top_k: int = 5,
        policy: str | Policy | None = None,
        storage_options: Mapping[str, Any] | None = None,
        fetchers: int = 0,
        **session: Any,
    ) -> None:
        from navit_edge.ray.actors import assigned
        from navit_edge.session import Session

        self._column = column
        self._policy = Policy.parse(policy) if isinstance(policy, str) else policy
        self._storage_options = dict(storage_options or {})
        self.session = Session(bundle, **(assigned() | session))
        self._fetchers = fetchers or 2 * max(int(assigned().get("threads", 0)) or os.cpu_count() or 1, 1)
        self._layout = columns.layout_of(bundle, self.session.labels, outputs, top_k)

    def __call__(self, batch: Any) -> Any:
        """A batch of numpy arrays (a dict) or a pyarrow table; gives the same kind back."""
        table = columns.is_table(batch)
        if not table and not isinstance(batch, Mapping):
            raise InvalidInputError(
                f"the batch is a {type(batch).__name__}; expected a dict of arrays or a pyarrow table: "
                'batch_format="numpy" or "pyarrow"'
            )
        name = self._column_of(batch)
        values = columns.values_of(batch, name)
        results = self._results(values)
        found = columns.table_of(results, self._layout) if table else columns.arrays_of(results, self._layout)
        kept = name if all(value is None or isinstance(value, str) for value in values) else None
        return columns.joined(batch, found, without=None if kept else name)

    def _results(self, values: Sequence[Any]) -> list[Result]:
        loads = [
            functools.partial(load, value, f"row {place}", self.session.decoder, self._storage_options)
            for place, value in enumerate(values)
        ]
        return run_together(self.session, loads, threads=self._fetchers, policy=self._policy)

    def _column_of(self, batch: Any) -> str:
        there = columns.names_of(batch)
        if self._column is not None:
            if self._column not in there:
                raise InvalidInputError(f"there is no column {self._column!r}; there are {', '.join(there)}")
            return self._column
        for name in INPUTS:
            if name in there:
                return name
        raise InvalidInputError(
            f"no column is called {', '.join(INPUTS[:-1])} or {INPUTS[-1]}; there are {', '.join(there)}: say "
            "which one holds the images with column="
        )
