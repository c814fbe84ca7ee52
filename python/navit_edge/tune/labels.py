"""Accuracy of a trial on labelled images, by ``navit_edge.evaluate``, in the time that there is."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from navit_edge.errors import BackendError
from navit_edge.evaluate import EvaluateRequest, InterruptedEvaluation, evaluate
from navit_edge.evaluate.data import LABEL, PATH, Examples, read_examples
from navit_edge.place import write_file
from navit_edge.profile.schema import Accuracy, Trial
from navit_edge.run.rows import offered_shapes
from navit_edge.vocabulary import Head

#: Fewer images say nothing of an accuracy.
LEAST_IMAGES = 20


class Labels:
    """data: what `navit-edge evaluate` takes. folder: keeps outputs, so that an engine's are computed once.

    All trials get the same images.
    """

    def __init__(self, bundle: Path, data: Path, folder: Path) -> None:
        self._bundle = bundle
        self._examples: Examples = read_examples(data)
        self._folder = folder
        self._table = folder.with_name(f"{folder.name}.csv")
        self._head: Head = "auto" if "logits" in offered_shapes(bundle) else "retrieval"

    def judge(self, trial: Trial, count: int) -> Accuracy | None:
        """count: images; the first call decides. None if an engine cannot run, or so few images say nothing."""
        if not self._table.exists() and not self._write_table(count):
            return None
        request = EvaluateRequest(
            engines=(trial.setup.engine,),
            policies=(trial.policy,),
            head=self._head,
            recall=(),
            timed_images=0,
            threads=trial.setup.threads,
            slots=trial.setup.slots,
        )
        try:
            report = evaluate(self._bundle, self._table, request, folder=self._folder, resume=True)
        except BackendError:
            return None
        except InterruptedEvaluation:
            raise KeyboardInterrupt from None
        row = next(one for one in report.rows if (one.engine, one.policy) == (trial.setup.engine, trial.policy))
        return Accuracy(value=row.top1.value, low=row.top1.low, high=row.top1.high, images=row.images)

    def _write_table(self, count: int) -> bool:
        """Evenly spread over the data."""
        total = self._examples.count()
        if count < min(total, LEAST_IMAGES):
            return False
        places = [place * total // count for place in range(count)] if count < total else range(total)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([PATH, LABEL])
        for place in places:
            one = self._examples.examples[place]
            writer.writerow([os.path.abspath(one.path), one.label])
        write_file(self._table, text.getvalue().encode())
        return True
