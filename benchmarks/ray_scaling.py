"""How far a job on a Ray cluster scales: costs measured on this machine, more actors than it has simulated with them.

    python benchmarks/ray_scaling.py BUNDLE [--images 512] [--json benchmarks/ray_scaling.json] [--page docs/ray.md]

Measured, in processor time, which depends little on what else the machine does: what an actor with one CPU takes for a
batch (encoded images in, rows out), and what the driver's process takes for an image with actors that answer at once;
the same of a block of Ray Data. Also the bytes of an image and of its row on the way, and the images/s of a real job
with an actor for each core. Simulated, event by event: batches, two for each actor at once, over one link, out of and
into one driver, in the order of the input. --page writes the figures into docs/ray.md.
"""

from __future__ import annotations

import argparse
import heapq
import json
import logging
import os
import pickle
import random
import re
import statistics
import tempfile
import textwrap
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from images import images_of, mixed_grids
from PIL import Image

from navit_edge.decode import Decoder
from navit_edge.errors import NavitEdgeError
from navit_edge.ray.ahead import Load, loader
from navit_edge.ray.feed import RayFeed
from navit_edge.ray.job_actor import Answer, Described, JobActor, Sent, Task
from navit_edge.ray.pool import DEPTH, Pool, Size, connected
from navit_edge.run.rows import Layout, layout_of
from navit_edge.run.sinks import open_sink
from navit_edge.run.sources import Item, Name, Sources

BATCH = 128
ACTORS = tuple(4**power for power in range(7))
LINK_GBIT = 10.0
JOB = 10**9


BEGIN, END = "<!-- ray_scaling: begin -->", "<!-- ray_scaling: end -->"


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one image, but for batch_s: what an actor took for each of several batches of ``BATCH``."""

    batch_s: list[float]
    sent_bytes: dict[str, float]
    answer_bytes: float
    driver_us: dict[str, float]
    raylet_us: dict[str, float]
    names_us: float
    data_block_us: float


class Echo:
    """An actor that has its answer ready."""

    def __init__(self) -> None:
        self._rows: list[Any] = []

    def ping(self) -> None:
        pass

    def open(self, task: Task) -> Described:
        self._rows = task.session["rows"]
        return Described("echo", "none", [], [])

    def run(self, batch: Sequence[Sent]) -> Answer:
        return Answer(self._rows[: len(batch)], [""] * len(batch), None, 1, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=int, default=512, help="that the actor's cost is measured with")
    parser.add_argument("--driver-images", type=int, default=20_000, help="that the driver's cost is measured with")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="page with the lines <!-- ray_scaling: begin --> and : end -->")
    options = parser.parse_args()
    bundle = options.bundle.resolve()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder) / "images", options.images)
        layout = layout_of(bundle, labels=[], top_k=3, save=["embedding"])
        batch_s, answer, batch = actor_costs(bundle, paths)
        with connected("local") as ray:
            own, real = scaling_here(ray, bundle, paths)
            driver_us, raylet_us = driver_costs(ray, Path(folder), paths, layout, answer.rows, options.driver_images)
            block_us = data_cost()
        costs = Costs(
            batch_s=batch_s,
            sent_bytes={
                "bytes": len(pickle.dumps(batch, protocol=5)) / len(batch),
                "paths": len(pickle.dumps([one._replace(image=str(paths[0])) for one in batch], protocol=5))
                / len(batch),
            },
            answer_bytes=len(pickle.dumps(answer, protocol=5)) / len(batch),
            driver_us=driver_us,
            raylet_us=raylet_us,
            names_us=names_cost(Path(folder) / "images"),
            data_block_us=block_us,
        )
    rows = [
        {"files": files, "actors": actors, **simulate(costs, actors, files)}
        for files in ("bytes", "paths")
        for actors in ACTORS
    ]
    report = {
        "machine": {"cpu": cpu(), "cores": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[1]},
        "versions": {name: version(name) for name in ("ray", "navit-edge", "openvino")},
        "bundle": bundle.name,
        "measured": asdict(costs) | {"images_per_s_here": {str(own): real}},
        "assumed": {"link_gbit_per_s": LINK_GBIT, "batch": BATCH, "depth": DEPTH},
        "evidence": "simulated with the measured costs",
        "simulated": rows,
    }
    text = page_of(report, costs)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.page:
        page = options.page.read_text(encoding="utf-8")
        found = re.sub(
            rf"({re.escape(BEGIN)}\n).*?({re.escape(END)})", lambda m: m[1] + text + m[2], page, flags=re.DOTALL
        )
        options.page.write_text(found, encoding="utf-8")


def pickled_bytes(value: Any) -> int:
    return len(pickle.dumps(value, protocol=5))


def write_images(folder: Path, count: int) -> list[Path]:
    """A photograph at ``count`` sizes as JPEG."""
    folder.mkdir()
    paths = []
    for place, pixels in enumerate(images_of(mixed_grids(count))):
        paths.append(folder / f"{place:06}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def sent_of(paths: Sequence[Path]) -> list[Sent]:
    return [Sent(path.read_bytes(), str(path), place) for place, path in enumerate(paths)]


def actor_costs(bundle: Path, paths: Sequence[Path]) -> tuple[list[float], Answer, list[Sent]]:
    """Seconds of a processor for each batch, and one batch with its answer."""
    actor = JobActor()
    actor.open(Task(bundle=str(bundle), session={"threads": 1, "device": "cpu"}, save=("embedding",)))
    batches = [sent_of(paths[start : start + BATCH]) for start in range(0, len(paths) - BATCH + 1, BATCH)]
    actor.run(batches[0])  # warm
    seconds = []
    for batch in batches:
        begun = time.process_time()
        answer = actor.run(batch)
        seconds.append(time.process_time() - begun)
    return seconds, answer, batches[-1]


def scaling_here(ray: Any, bundle: Path, paths: Sequence[Path]) -> tuple[int, float]:
    """(actors, images/s) of a real job on this machine, an actor a core."""
    cores = len(os.sched_getaffinity(0))
    task = Task(bundle=str(bundle), session={}, save=("embedding",))
    layout = layout_of(bundle, labels=[], top_k=3, save=["embedding"])
    many = [path for _ in range(4) for path in paths]
    with Pool[Any](ray, task, Size(actors=cores, cpus=1, gpus=0)) as pool:
        feed = RayFeed(ray, pool, loader(Decoder(), shared=False), batch_images=BATCH, readers=4)
        begun = 0.0
        for done, _ in enumerate(feed.rows(items(many), layout), 1):
            if done == len(paths):  # every actor is open and warm
                begun = time.perf_counter()
        return cores, (len(many) - len(paths)) / (time.perf_counter() - begun)


def items(paths: Sequence[Path]) -> Iterator[Item]:
    for path in paths:
        yield Item(name=Name(str(path)), image=str(path))


def driver_costs(
    ray: Any, folder: Path, paths: Sequence[Path], layout: Layout, rows: Sequence[Any], count: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds of the driver's processor for an image, and of Ray's own beside it, by what is sent and the sink."""
    driver: dict[str, float] = {}
    raylet: dict[str, float] = {}
    many = [paths[place % len(paths)] for place in range(count)]
    cases: dict[str, tuple[Load, str]] = {
        f"{files}, {kind}": (loader(Decoder(), shared=files == "paths"), kind)
        for files in ("bytes", "paths")
        for kind in ("jsonl", "parquet")
    }
    for name, (load, kind) in cases.items():
        sink = open_sink(
            kind, folder / f"{kind}-{len(driver)}", layout, {}, resume=False, overwrite=False, part_rows=8192
        )
        task = Task(bundle="", session={"rows": list(rows)})
        with Pool[Any](ray, task, Size(actors=len(os.sched_getaffinity(0)), cpus=1, gpus=0), Echo) as pool:
            feed = RayFeed(ray, pool, load, batch_images=BATCH, readers=4)
            begun, others = time.process_time(), raylet_s()
            for done in feed.rows(items(many), layout):
                sink.write(done.row)
            sink.flush()
            driver[name] = (time.process_time() - begun) / count * 1e6
            raylet[name] = (raylet_s() - others) / count * 1e6
        sink.close()
    return driver, raylet


def raylet_s() -> float:
    """Processor time of Ray's own processes beside the driver."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text().strip() in ("raylet", "gcs_server"):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return total


def names_cost(folder: Path) -> float:
    """Microseconds to name an image of a folder."""
    begun = time.process_time()
    count = sum(1 for _ in Sources(arguments=[str(folder)]).items())
    return (time.process_time() - begun) / count * 1e6


def data_cost(blocks: int = 200) -> float:
    """Microseconds of the driver's processor for a block of Ray Data through actors that do nothing."""
    import ray.data as data

    class Same:
        def __call__(self, batch: Any) -> Any:
            return batch

    data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)

    def seconds(count: int) -> float:
        begun = time.process_time()
        data.range(count, override_num_blocks=count).map_batches(
            Same, compute=data.ActorPoolStrategy(size=1), num_cpus=0.5
        ).materialize()
        return time.process_time() - begun

    seconds(2)
    return (seconds(blocks + 2) - seconds(2)) / blocks * 1e6


def simulate(costs: Costs, actors: int, files: str) -> dict[str, float]:
    """Images/s once all actors are busy, the share of the time that each is, and where it goes."""
    rng = random.Random(actors)
    handling = (
        costs.driver_us[f"{files}, parquet"] * BATCH / 1e6
    )  # of a batch, half when it is sent, half when it is back
    out_s = costs.sent_bytes[files] * BATCH * 8 / (LINK_GBIT * 1e9)
    back_s = costs.answer_bytes * BATCH * 8 / (LINK_GBIT * 1e9)
    total = max(4000, 24 * actors)
    window = 2 * DEPTH * actors
    driver_s = link_free = driver_busy = link_busy = 0.0  # the driver's clock: it does one thing at a time
    actor_free = [0.0] * actors
    idle = deque(range(actors))
    idle.extend(range(actors))
    answers: list[tuple[float, int, int]] = []  # (when it is back, batch, actor)
    sent = written = 0
    done: set[int] = set()
    finished: list[float] = []
    while written < total:
        while idle and sent < total and sent - written < window:
            actor = idle.popleft()
            driver_s += handling / 2
            link_free = max(link_free, driver_s) + out_s
            actor_free[actor] = max(actor_free[actor], link_free) + rng.choice(costs.batch_s)
            heapq.heappush(answers, (actor_free[actor] + back_s, sent, actor))
            sent += 1
        back, batch, actor = heapq.heappop(answers)
        driver_s = max(driver_s, back) + handling / 2
        driver_busy += handling
        link_busy += out_s + back_s
        idle.append(actor)
        done.add(batch)
        while written in done:
            done.remove(written)
            written += 1
            finished.append(driver_s)
    first = len(finished) // 4  # until all are busy
    seconds = finished[-1 - first] - finished[first]
    rate = (len(finished) - 1 - 2 * first) * BATCH / seconds
    alone = BATCH / statistics.fmean(costs.batch_s)
    return {
        "images_per_s": rate,
        "efficiency": rate / (alone * actors),
        "driver_busy": driver_busy / finished[-1],
        "link_busy": link_busy / finished[-1],
        "days_for_1e9": JOB / rate / 86400,
    }


def page_of(report: dict[str, Any], costs: Costs) -> str:
    """The figures in Markdown."""
    alone = BATCH / statistics.fmean(costs.batch_s)
    ((here, rate),) = report["measured"]["images_per_s_here"].items()
    lines = [
        f"`{report['bundle']}`, JPEG files of 32 to 1024 tokens, {BATCH} images a batch, embeddings kept; "
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores, Ray {report['versions']['ray']}.",
        "",
        "| measured | bytes of files | paths |",
        "|---|---|---|",
        f"| sent through the object store, bytes an image | {costs.sent_bytes['bytes']:,.0f} | "
        f"{costs.sent_bytes['paths']:,.0f} |",
        f"| a row that comes back, bytes | {costs.answer_bytes:,.0f} | {costs.answer_bytes:,.0f} |",
    ]
    for kind in ("jsonl", "parquet"):
        both = [costs.driver_us[f"{files}, {kind}"] for files in ("bytes", "paths")]
        lines.append(f"| driver, `{kind}`, µs of processor an image | " + " | ".join(f"{us:.0f}" for us in both) + " |")
        lines.append(f"| so at most, `{kind}`, images/s | " + " | ".join(f"{1e6 / us:,.0f}" for us in both) + " |")
    lines += [
        "",
        f"An actor with one CPU runs {alone:.1f} images/s by its processor time; a real job with {here} actors on this "
        f"machine ran {rate:.1f}. Naming an image of a folder takes the driver {costs.names_us:.0f} µs more. A block "
        f"of Ray Data takes its driver {costs.data_block_us / 1e3:.1f} ms, however many images are in it.",
        "",
        f"| simulated, {LINK_GBIT:g} Gbit/s at the driver: actors | files | images/s | each busy | driver busy "
        "| link busy | days for 10^9 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["simulated"]:
        lines.append(
            f"| {row['actors']:,} | {row['files']} | {row['images_per_s']:,.0f} | {min(row['efficiency'], 1):.0%} | "
            f"{row['driver_busy']:.0%} | {row['link_busy']:.0%} | {row['days_for_1e9']:,.1f} |"
        )
    return "\n".join(textwrap.fill(line, 100) if not line.startswith("|") else line for line in lines) + "\n"


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    try:
        main()
    except NavitEdgeError as error:
        raise SystemExit(f"error: {error}") from None
