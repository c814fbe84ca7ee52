"""`navit-edge evaluate`: accuracy beside every speed (docs/evaluate.md).

``data`` reads labelled images, ``outputs`` runs them as jobs of `navit_edge.run`, ``heads`` makes classes of outputs,
``metrics`` has the statistics, ``runner`` ties these together, ``picture`` draws accuracy against time.
"""

from navit_edge.evaluate.outputs import InterruptedEvaluation
from navit_edge.evaluate.report import Report, Row
from navit_edge.evaluate.request import EvaluateRequest
from navit_edge.evaluate.runner import evaluate

__all__ = ["EvaluateRequest", "InterruptedEvaluation", "Report", "Row", "evaluate"]
