"""How much host memory a session sets aside for an engine: computed from the bundle, no engine is opened.

The formula is in docs/memory.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from navit_edge import _core
from navit_edge.machine.cores import usable_cores
from navit_edge.options import checked_int


@dataclass(frozen=True, kw_only=True)
class BudgetMemory:
    """Host bytes for packs of one budget.

    tokens: The budget's tokens.
    images: The budget's images.
    inputs: Bytes of a pack's inputs. An engine that lends page-locked memory for them holds them itself.
    scratch: Bytes of what a pack is resized and cut with, by all threads.
    outputs: Bytes of a pack's outputs.
    """

    tokens: int
    images: int
    inputs: int
    scratch: int
    outputs: int

    @property
    def total(self) -> int:
        """All three."""
        return self.inputs + self.scratch + self.outputs


@dataclass(frozen=True, kw_only=True)
class EngineMemory:
    """Host bytes of one engine.

    engine: Id of the engine.
    threads: Threads that write a pack.
    budgets: In the order of the manifest, ascending.
    """

    engine: str
    threads: int
    budgets: tuple[BudgetMemory, ...]

    @property
    def slot_bytes(self) -> int:
        """What a slot holds: memory for its largest budget, which packs of the smaller ones share."""
        return self.budgets[-1].total

    def session_bytes(self, slots: int) -> int:
        """What a session of `slots` slots holds: the slots, and outputs of two more packs."""
        return slots * self.slot_bytes + _core.spare_outputs * self.budgets[-1].outputs


#: What a process of Python with NumPy and navit_edge holds before it opens a session.
PROCESS_BYTES = 37 << 20


@dataclass(frozen=True, kw_only=True)
class EngineNeed:
    """Host bytes that an engine itself takes, beside what a session sets aside (docs/memory.md).

    library: The vendor's libraries, once in a process; 0: not known.
    weights: The engine's file, and the weights as the processor wants them.
    activations: Of the largest packs of all slots.
    shapes: Kept for shapes, when what may be kept is full.
    written: What the session writes to of the memory that it sets aside: that of the largest pack that can come.
    """

    library: int
    weights: int
    activations: int
    shapes: int
    written: int

    @property
    def total(self) -> int:
        """Of the engine itself: the first four."""
        return self.library + self.weights + self.activations + self.shapes

    @property
    def process_bytes(self) -> int:
        """By how much a process grows that runs one session."""
        return self.total + self.written


def engine_memory(bundle: str | Path, engine: str, *, slots: int = 1, tokens: int = 0, capacity: int = 0) -> EngineNeed:
    """What the engine with the id `engine` takes itself: predicted, it is not opened.

    tokens: T of the largest pack; 0: of the largest that can come. capacity: shapes that are kept; 0: the default.

    Raises BundleError: the bundle holds no such engine.
    """
    library, weights, activations, shapes, written = _core.engine_memory(
        str(bundle), engine, slots=checked_int("slots", slots) or 1, tokens=tokens, capacity=capacity
    )
    return EngineNeed(library=library, weights=weights, activations=activations, shapes=shapes, written=written)


def memory_plan(bundle: str | Path, engine: str, *, threads: int = 0) -> EngineMemory:
    """Memory of the engine with the id `engine` in a session of `threads` threads (0: as many as it takes by itself).

    Raises BundleError: the bundle holds no such engine.
    Raises InvalidInputError: `threads` is not 0 to 1024.
    """
    threads = checked_int("threads", threads) or usable_cores()
    budgets = tuple(
        BudgetMemory(tokens=tokens, images=images, inputs=inputs, scratch=scratch, outputs=outputs)
        for tokens, images, inputs, scratch, outputs in _core.memory_plan(str(bundle), engine, threads=threads)
    )
    return EngineMemory(engine=engine, threads=threads, budgets=budgets)
