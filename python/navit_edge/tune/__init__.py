"""`navit-edge tune`: measures a bundle on this machine and recommends how to run it (docs/tune.md).

``space`` says what is tried, ``halving`` and ``search`` in which order, ``trial`` measures in a process of its own,
``recommend`` makes recommendations of the table, ``journal`` lets a tuning go on, ``share`` writes what can be sent.
"""

from navit_edge.tune.recommend import recommend
from navit_edge.tune.runner import tune
from navit_edge.tune.search import Step
from navit_edge.tune.space import TuneRequest

__all__ = ["Step", "TuneRequest", "recommend", "tune"]
