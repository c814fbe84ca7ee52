"""Both readers of manifests, and the writer, are held to one table: ``tests/data/manifests/corpus.json``.

``csrc/tests/bundle/manifest_corpus_test.cc`` reads the same table; ``docs/bundle.md`` gives the rules in words.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from navit_edge import _core
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Manifest
from navit_edge.errors import BundleError

CORPUS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "manifests" / "corpus.json").read_text())
ENGINE = CORPUS["base"]["engines"][0]["id"]


def place(content: Any, pointer: str) -> tuple[Any, Any]:
    """The container and the key or index of a JSON pointer."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in parents:
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content, int(last) if isinstance(content, list) else last


def put(content: Any, pointer: str, value: Any) -> None:
    container, key = place(content, pointer)
    if isinstance(container, list) and key == len(container):
        container.append(value)
    else:
        container[key] = value


def text_of(case: dict[str, Any]) -> bytes:
    """The manifest of a case: the base, changed as the case says."""
    if "text" in case:
        return str(case["text"]).encode()
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    content = copy.deepcopy(CORPUS["base"])
    for pointer in case.get("remove", ()):
        container, key = place(content, pointer)
        del container[key]
    for pointer, value in case.get("set", {}).items():
        put(content, pointer, value)
    if "copy" in case:
        container, key = place(content, case["copy"][0])
        put(content, case["copy"][1], container[key])
    if "fill" in case:
        put(content, case["fill"]["path"], [case["fill"]["value"]] * case["fill"]["count"])
    text: bytes = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    if edit := case.get("edit"):
        times = edit.get("times", 0)
        new = (
            edit.get("with", "") + times * edit.get("open", "") + edit.get("middle", "") + times * edit.get("close", "")
        )
        assert text.count(edit["find"].encode()) == 1, f"{edit['find']} is to be found once"
        text = text.replace(edit["find"].encode(), bytes.fromhex(edit["hex"]) if "hex" in edit else new.encode())
    spaces: int = case.get("pad", 0) - len(text)
    return text + bytes.fromhex(case.get("append_hex", "")) + b" " * max(0, spaces)


@pytest.mark.parametrize("case", [pytest.param(case, id=ascii(case["name"])) for case in CORPUS["cases"]])
def test_both_readers_take_or_refuse_a_manifest_for_the_same_reason(case: dict[str, Any], tmp_path: Path) -> None:
    raw = text_of(case)
    (tmp_path / "manifest.json").write_bytes(raw)
    if case["takes"]:
        manifest = manifests.load(tmp_path)
        _core.Packer(
            str(tmp_path),
            "masked",
            max_tokens=4,
            max_images=1,
            target_tokens=4,
            strategy="fifo",
            dynamic_tokens=True,
            threads=1,
        )
        if manifest.schema_minor and manifest.schema_minor > manifests.SCHEMA_MINOR:
            with pytest.raises(BundleError, match="this version reads and cannot write; upgrade navit-edge"):
                manifests.check(manifest, source="x")
        else:
            assert manifests.parse(manifests.check(manifest, source="x"), source="x") == manifest
        return
    with pytest.raises(BundleError) as python:
        manifests.load(tmp_path)
    with pytest.raises(BundleError) as cpp:
        _core.memory_plan(str(tmp_path), ENGINE, threads=1)
    assert str(python.value) == str(cpp.value)
    assert case["message"] in str(python.value)
    assert str(tmp_path / "manifest.json") in str(python.value)
    assert "; " in str(python.value)  # the remedy is the last part
    assert str(python.value).isprintable()
    assert len(str(python.value)) < 1000


def nodes(content: Any, pointer: str = "") -> Iterator[str]:
    if pointer:
        yield pointer
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from nodes(value, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 1.0, 0.5, -0.0, 1e300, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, "",
    "x", "1", "T", "fp32", "none", [], {}, [1], {"a": 1}, [[]], ["x", "y"]
)  # fmt: skip


@pytest.mark.parametrize("pointer", list(nodes(CORPUS["base"])))
def test_whatever_the_one_reader_takes_the_other_does_too(pointer: str) -> None:
    for value in VALUES:
        content = copy.deepcopy(CORPUS["base"])
        put(content, pointer, value)
        raw = json.dumps(content).encode()
        try:
            _core.check_manifest(raw, source="x")
        except BundleError:
            continue
        manifest = msgspec.json.decode(raw, type=Manifest)  # raises where it is the stricter one
        manifests.check(manifest, source="x")


def test_numbers_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    manifest = manifests.parse(json.dumps(CORPUS["base"]).encode(), source="x")
    engine = manifest.engines[0]
    assert engine.cost is not None
    for number in (float("nan"), float("inf")):
        cost = msgspec.structs.replace(engine.cost, r_squared=number)
        wrong = msgspec.structs.replace(manifest, engines=(msgspec.structs.replace(engine, cost=cost),))
        with pytest.raises(BundleError, match=r"cost\.r_squared is null; expected a number"):
            manifests.save(wrong, tmp_path)
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        manifests.save(msgspec.structs.replace(manifest, name="\udcff"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_the_most_engines_is_read() -> None:
    content = copy.deepcopy(CORPUS["base"])
    content["engines"] = [content["engines"][0] | {"id": f"engine-{index}"} for index in range(1024)]
    assert len(manifests.parse(json.dumps(content).encode(), source="x").engines) == 1024
