"""`navit-edge report`: its page says what its JSON says, needs nothing from elsewhere, and obeys no text of others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import typer.main
from command_line import invoke, words
from PIL import Image
from report_cases import ENGINE, bench_report, evaluation, full_report, profile, report_file
from test_page import Reader, check_self_contained

from navit_edge.cli.main import app
from navit_edge.evaluate.metrics import share
from navit_edge.page.content import Card
from navit_edge.page.pictures import THUMBNAIL_PX, picture_uri
from navit_edge.profile.schema import profile_bytes
from navit_edge.report import BundleReport, ReportFile, compare, render, report_of
from navit_edge.report.compare import difference_of
from navit_edge.report.content import MOST_EXAMPLES, SCHEMA_VERSION, Examples

HOSTILE = "\"'><script>alert(1)</script><img src=https://x.invalid onerror=alert(2)>\x1b[2J\u202e&amp;"
#: Fields whose words are ours.
OURS = {"verdict", "language", "head", "group", "test", "quality", "aim", "precision"}


class Tables(Reader):
    """The cells of each table, by its id."""

    def __init__(self, document: str) -> None:
        self.tables: dict[str, list[list[str]]] = {}
        self.rows: list[list[str]] = []
        super().__init__(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        if tag == "table":
            self.rows = self.tables.setdefault(dict(attrs)["id"] or "", [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def records(self, name: str) -> list[dict[str, str]]:
        head, *rows = self.tables[name]
        return [dict(zip(head, row, strict=True)) for row in rows]


def as_json(report: ReportFile) -> Any:
    return json.loads(msgspec.json.encode(report))


def number(text: str) -> float:
    return float(text.replace(",", "").removesuffix(" %"))


@pytest.fixture(scope="module")
def report(built: Path) -> ReportFile:
    return report_file(full_report(built))


@pytest.fixture(scope="module")
def both(built: Path) -> ReportFile:
    """The second bundle takes half of the time, and has as many answers right as chance may explain."""
    return report_file(full_report(built), rebuilt(full_report(built, factor=0.5, right=705)))


def test_the_page_is_made_of_the_json_and_of_nothing_else(report: ReportFile, both: ReportFile) -> None:
    for one in (report, both):
        again = msgspec.json.decode(msgspec.json.encode(one), type=ReportFile)
        assert render(again) == render(one)


def test_the_page_loads_nothing_runs_nothing_and_names_each_place_once(report: ReportFile, both: ReportFile) -> None:
    for one in (report, both):
        document = render(one)
        read = check_self_contained(document)
        assert "default-src 'none'" in document
        names = [tag.attributes["id"] for tag in read.tags if "id" in tag.attributes]
        assert len(set(names)) == len(names)
        targets = {tag.attributes["href"].removeprefix("#") for tag in read.of("a")}
        assert targets <= set(names)
        for picture in read.of("svg"):
            if picture.attributes.get("aria-hidden") != "true":
                assert set(picture.attributes["aria-labelledby"].split()) <= set(names)


def test_every_section_says_something(report: ReportFile) -> None:
    read = Reader(render(report))
    found = [tag.attributes["id"] for tag in read.of("section") if "id" in tag.attributes]
    assert found == ["model", "engines", "right", "quantized", "fast", "good", "tuned", "needs", "packs", "use",
                     "missing"]  # fmt: skip
    for said in ("All 2 checks hold", "not run: tensorrt-sm87-fp16", "5.12 ms", "with ne.Session('tiny.navit')"):
        assert said in read.text


def test_the_numbers_of_the_tables_are_those_of_the_json(report: ReportFile) -> None:
    (one,) = as_json(report)["bundles"]
    read = Tables(render(report))
    packs = [*one["bench"][0]["packs"], one["bench"][0]["end_to_end"]]
    for row, pack in zip(read.records("bench-0"), packs, strict=True):
        for name in ("p50", "p90", "p99"):
            assert number(row[f"{name} ms"]) == pytest.approx(pack["latency_ms"][name], rel=0.01)
        assert number(row["tokens"]) == pack["tokens"]
        assert number(row["images/s"]) == pytest.approx(pack["images_per_s"], rel=0.01)
        assert number(row["engine ms"]) == pytest.approx(pack["engine_ms"], rel=0.01)
    (distance,) = read.records("distances")
    found = one["certificate"]["engines"][0]["distances"]["logits"]
    assert float(distance["largest difference"]) == pytest.approx(found["relative"], rel=0.01)
    assert float(distance["least cosine"]) == pytest.approx(found["least_cosine"], abs=1e-6)
    for row, found in zip(read.records("evaluation"), one["evaluation"]["rows"], strict=True):
        top1 = [float(value) for value in re.findall(r"\d+\.\d+", row["top-1"])]
        expected = [100 * found["top1"][name] for name in ("value", "low", "high")]
        assert top1 == pytest.approx(expected, abs=0.051)
        assert bool(row["on the front"]) == found["timing"]["pareto"]
    trials = one["tuned"]["measured"]["trials"]
    for row, found in zip(read.records("trials"), trials, strict=True):
        assert number(row["p90 ms"]) == pytest.approx(found["p90_ms"], rel=0.01)
        assert number(row["images/s"]) == pytest.approx(found["images_per_s"], rel=0.01)
    for row in read.records("profile"):
        advised = one["tuned"]["advice"][row["use"]]
        assert f"{row['use']}: {advised['reason']}" in read.text
        assert row["policy"] == trials[advised["trial"]]["policy"]
    for row, pack in zip(read.records("pack-table"), one["planned"]["packs"], strict=True):
        assert (number(row["tokens"]), number(row["images"])) == (sum(pack["images"]), len(pack["images"]))


def hostile(value: Any, key: str = "") -> Any:
    """Every text, also of keys, with one that a page must not obey behind it."""
    if isinstance(value, str) and key not in OURS:
        return value + HOSTILE
    if isinstance(value, list):
        return [hostile(one, key) for one in value]
    if isinstance(value, dict):
        free = key in ("latency_ms", "versions", "builder", "settings", "not_run", "host", "made_by", "distances")
        return {name + HOSTILE if free and key != "latency_ms" and key != "host" else name: hostile(one, name)
                for name, one in value.items()}  # fmt: skip
    return value


def test_text_of_others_is_nothing_but_text(both: ReportFile) -> None:
    document = render(msgspec.convert(hostile(as_json(both)), ReportFile))
    read = check_self_contained(document)
    plain = Reader(render(both))
    assert {tag.name for tag in read.tags} == {tag.name for tag in plain.tags}
    assert {name for tag in read.tags for name in tag.attributes} == {
        name for tag in plain.tags for name in tag.attributes
    }
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", document)
    assert "<script>alert(1)</script>" in read.text


def numbers(value: Any, put: float) -> Any:
    """Every number replaced."""
    if isinstance(value, (list, dict)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        made = {key: one if key in ("options", "reference") else numbers(one, put) for key, one in pairs}
        return made if isinstance(value, dict) else list(made.values())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return put if isinstance(value, float) else int(put)


@pytest.mark.parametrize("put", [0, -1, 1e-300, 1e308])
def test_numbers_that_nobody_measured_make_a_page_all_the_same(report: ReportFile, put: float) -> None:
    changed = as_json(report)
    for one in changed["bundles"]:
        for part in ("bench", "evaluation", "certificate", "planned", "quantized"):
            one[part] = numbers(one[part], put)
    check_self_contained(render(msgspec.convert(changed, ReportFile)))


def test_a_page_stays_small_and_says_what_it_leaves_out(report: ReportFile) -> None:
    (one,) = report.bundles
    many = tuple(msgspec.structs.replace(one.engines[0], id=f"{k}" + "x" * 5000) for k in range(2000))
    noise = np.random.default_rng(0).integers(0, 256, (352, 352, 3), np.uint8)
    large, small = picture_uri(noise), picture_uri(noise, most_px=THUMBNAIL_PX)
    card = Card(name="a", picture=large, thumbnail=small, grid=(22, 22), tokens=484, pack=0, pack_tokens=484)
    examples = Examples(engine="e", device="d", cards=(card,) * MOST_EXAMPLES, left_out=7)
    document = render(report_file(msgspec.structs.replace(one, engines=many, examples=examples)))
    assert len(document) < 5_000_000
    assert "1,900 more rows are in the JSON" in Reader(document).text


def test_what_is_missing_has_a_command_that_exists(built: Path) -> None:
    made = report_of(built)
    assert {"verify", "bench", "evaluate"} <= {one.command.split()[1] for one in made.missing}
    commands: Any = typer.main.get_command(app)
    for one in made.missing:
        assert one.command.split()[1] in commands.commands
    read = Reader(render(report_file(made)))
    assert "there is no certificate" in read.text
    for one in made.missing:
        assert one.command in read.text


def test_a_measurement_of_another_bundle_is_said_to_be_one(built: Path, job_bundle: Path) -> None:
    other = bench_report(Path("else.navit"))
    made = report_of(built, bench=[other], evaluation=evaluation(job_bundle), tuned=profile(job_bundle))
    assert len(made.notes) == 3
    assert all(note in Reader(render(report_file(made))).text for note in made.notes)


# --- two bundles


def test_the_interval_of_a_difference_is_that_of_newcombe() -> None:
    # Newcombe 1998, table II: 56 of 70 against 48 of 80, method 10.
    low, high = difference_of(share(48, 80), share(56, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_one_is_called_faster_only_if_the_ranges_of_times_are_apart(built: Path) -> None:
    for factor, verdict, better in ((0.5, "lower", 1), (2.0, "higher", 0), (0.95, "not shown", None)):
        found = compare(full_report(built), rebuilt(full_report(built, factor=factor))).differences
        speeds = [one for one in found if one.group == "speed"]
        assert len(speeds) == 5
        assert {(one.verdict, one.better) for one in speeds} == {(verdict, better)}
        for one in speeds:
            assert one.low is not None
            assert one.high is not None
            assert one.low <= one.value <= one.high


def rebuilt(report: BundleReport) -> BundleReport:
    """With engines of other files."""
    engines = tuple(msgspec.structs.replace(one, sha256="1" * 64) for one in report.engines)
    return msgspec.structs.replace(report, engines=engines)


def test_of_the_same_file_none_is_called_faster(built: Path) -> None:
    found = compare(full_report(built), full_report(built, factor=0.1)).differences
    speeds = [one for one in found if one.group == "speed"]
    assert {(one.verdict, one.better) for one in speeds} == {("not shown", None)}
    assert {"what differs is the machine" in one.why for one in speeds} == {True}


def test_answers_are_better_only_if_the_interval_leaves_out_zero(built: Path) -> None:
    for right, better in ((705, None), (760, 1), (640, 0)):
        found = compare(full_report(built), full_report(built, right=right)).differences
        rows = [one for one in found if one.group == "accuracy" and one.unit == "%"]
        assert len(rows) == 2
        assert {one.better for one in rows} == {better}


def test_times_of_different_machines_are_not_compared(built: Path) -> None:
    found = compare(full_report(built), full_report(built, cpu="another CPU"))
    assert not [one for one in found.differences if one.group == "speed"]
    assert any("their machines differ" in note for note in found.notes)


def test_both_bundles_stand_side_by_side_with_the_sign_of_the_difference(both: ReportFile) -> None:
    read = Tables(render(both))
    assert both.comparison is not None
    speeds = [one for one in both.comparison.differences if one.group == "speed"]
    for row, one in zip(read.records("compare-speed"), speeds, strict=True):
        assert row["difference"].startswith("\N{MINUS SIGN}")
        assert "tiny.navit (2) was faster" in row["in words"]
        assert number(row["tiny.navit (1)"].removesuffix(" ms")) == pytest.approx(one.first, rel=0.01)
    assert "no difference shown" in read.records("compare-accuracy")[0]["in words"]


# --- the command


@pytest.fixture
def files(built: Path, tmp_path: Path) -> dict[str, Path]:
    bench, judged, tuned = (tmp_path / f"{name}.json" for name in ("bench", "evaluate", "profile"))
    tuned.write_bytes(profile_bytes(profile(built)))
    bench.write_text(json.dumps(bench_report(built).as_json()))
    judged.write_bytes(msgspec.json.encode(evaluation(built)))
    return {"bench": bench, "evaluate": judged, "profile": tuned}


def test_the_command_writes_the_page_and_the_same_as_json(built: Path, files: dict[str, Path], tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name, height, width in (("a.png", 16, 24), ("b & c.png", 40, 12)):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(images / name)
    (images / "broken.png").write_bytes(b"no image")
    page, data = tmp_path / "page.html", tmp_path / "page.json"
    finished = invoke("report", built, "-o", page, "--json", "--json-file", data, "--bench", files["bench"],
                      "--evaluate", files["evaluate"], "--profile", files["profile"], "--images", images)  # fmt: skip
    assert finished.exit_code == 0, finished.stderr
    printed = json.loads(finished.stdout)
    assert printed == json.loads(data.read_text())
    assert printed["schema_version"] == SCHEMA_VERSION
    decoded = msgspec.json.decode(data.read_bytes(), type=ReportFile)
    assert render(decoded) == page.read_text(encoding="utf-8")
    read = check_self_contained(page.read_text(encoding="utf-8"))
    assert len(read.of("article")) == 3
    assert "b & c.png" in read.text
    assert str(tmp_path) not in page.read_text()


def test_two_bundles_are_compared_and_a_file_goes_to_the_bundle_that_it_names(
    built: Path, job_bundle: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(msgspec.json.encode(evaluation(job_bundle)))
    finished = invoke("report", built, job_bundle, "-o", tmp_path / "page.html", "--json", "--evaluate", other,
                      "--evaluate", files["evaluate"])  # fmt: skip
    assert finished.exit_code == 0, finished.stderr
    found = json.loads(finished.stdout)
    first, second = (one["evaluation"]["model"] for one in found["bundles"])
    assert first == json.loads(files["evaluate"].read_text())["model"]
    assert second == json.loads(other.read_text())["model"]
    assert {one["group"] for one in found["comparison"]["differences"]} == {"size", "accuracy"}


@pytest.mark.parametrize(
    ("content", "said"),
    [("{}", "not what was expected"), ("no json", "not what was expected"), ('{"a": 1, "a": 2}', "not what")],
)
def test_a_file_that_another_program_wrote_is_refused(built: Path, tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(content)
    for option in ("--bench", "--evaluate", "--profile"):
        finished = invoke("report", built, option, file, "-o", tmp_path / "page.html")
        assert finished.exit_code == 1
        if option != "--profile":
            assert said in words(finished.stderr)
            assert f"navit-edge {option[2:]}" in words(finished.stderr)
    assert not (tmp_path / "page.html").exists()


def test_a_measurement_that_names_neither_bundle_is_refused(built: Path, job_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(bench_report(Path("else.navit")).as_json()))
    finished = invoke("report", built, job_bundle, "--bench", file, "-o", tmp_path / "page.html")
    assert finished.exit_code == 1
    assert "does not say which of the two bundles" in words(finished.stderr)
    finished = invoke("report", built, "--bench", file, "--bench", file, "-o", tmp_path / "page.html")
    assert f"two measurements of one engine among {ENGINE}" in words(finished.stderr)
