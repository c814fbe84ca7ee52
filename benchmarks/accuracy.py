"""What accuracy costs, on a trained model: resolution, precision, policies, and pixels that are resized otherwise.

    python examples/train/clipart.py demo/clipart --train-side 0
    python benchmarks/accuracy.py demo/clipart [--folder demo/accuracy] [--train 400] [--test 537]
    python benchmarks/accuracy.py --page [--check]

DINOv2 ViT-S/14 (examples/dinov2_weights.py) on clip art: embeddings by `navit-edge evaluate`, classes by neighbours and
by a linear probe. Writes accuracy.json, docs/accuracy.md between its marks, and docs/accuracy.svg. What is interrupted
goes on from --folder. Delete in it evaluations/int8 and int8.navit to quantize again, and times.json to measure times
again. --page only writes the page and the picture of the JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from accuracy_study.page import updated

ROOT = Path(__file__).resolve().parents[1]

JSON = Path(__file__).with_name("accuracy.json")
PAGE = ROOT / "docs" / "accuracy.md"
PICTURE = ROOT / "docs" / "accuracy.svg"
TIMES = "times.json"


def study(data: Path, folder: Path, counts: dict[str, int]) -> None:
    """Runs what is missing in ``folder`` and writes the JSON file."""
    from accuracy_study.evaluations import jobs, measure, run
    from accuracy_study.findings import available, findings
    from accuracy_study.sample import draw, prepare

    sample = draw(data, folder, counts)
    prepare(sample)
    for number, job in enumerate(jobs(), start=1):
        print(f"{number} of {len(jobs())}: {job.name}", flush=True)
        run(sample, job)
    times = folder / TIMES
    known: dict[str, float] = json.loads(times.read_text()) if times.exists() else {}
    rows = [one for one in available(sample) if one.group in ("caps", "precision", "policies")]
    if missing := [one for one in rows if one.key not in known]:
        bundles = {job.name: job.bundle for job in jobs()}
        known |= measure(sample, [(one.key, bundles[one.job], one.policy, one.cap) for one in missing])
        times.write_text(json.dumps(known))
    result = findings(sample, known)
    JSON.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder with train/ and test/, of class folders")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "accuracy")
    parser.add_argument("--train", type=int, default=400, help="training images")
    parser.add_argument("--test", type=int, default=537, help="test images")
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    arguments = parser.parse_args()
    if not arguments.page and not arguments.check:
        if arguments.data is None:
            parser.error("give the folder with train/ and test/, or --page")
        counts = {"train": arguments.train, "test": arguments.test}
        study(arguments.data, arguments.folder, counts)
    found = json.loads(JSON.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    new = updated(text, found)
    if arguments.check:
        sys.exit(None if new == text else "docs/accuracy.md is out of date: python benchmarks/accuracy.py --page")
    from accuracy_study.picture import draw as draw_picture

    PAGE.write_text(new, encoding="utf-8")
    draw_picture(found, PICTURE)


if __name__ == "__main__":
    main()
