"""``docs/manifest.schema.json`` says of manifests what both readers say, but for what a JSON schema cannot express.

The table is that of the readers, ``tests/data/manifests/corpus.json``; beyond it every field of its base gets many
values.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from test_manifest_corpus import CORPUS, nodes, put, text_of

from navit_edge import _core
from navit_edge.bundle.manifest import SCHEMA_MINOR, Manifest, Sizing
from navit_edge.errors import BundleError

#: Why a manifest that the schema takes may be refused -> words of the readers' messages.
BEYOND_A_SCHEMA = {
    "JSON's own text": ("is not JSON", "byte order mark", "out_of_range", " twice", "nested more than", "values;"),
    "free numbers beyond 64 bits": ("out_of_range", "; expected an integer; "),
    "the file's size": ("bytes; expected at most",),
    "1.0 is an integer to JSON Schema": ("is 1.0; expected"),
    "unique ids and names": ("a name that no other tensor", "an id that no other entry", "that is no engine's"),
    "names of things that are there": ("a file that `files` lists", "one of the bundle's graphs", " among them"),
    "numbers that agree": (
        "rows of tokens with token_merge", "rows of projected", "rows of deepstack", "rows of attention_map",
        "one class for each of the", "multiples of the patch side",
        "min_pixels <= max_pixels", "merge * merge",
        "merging.layer is ", "merging.kept is ", "merging.group is ", "that model.merging gives it",
        '"T*7/20+1N"; expected', "model.merging beside it", "a token_merge of 1 beside it",
        "target_tokens is ", "longest is ", "budgets that ascend", "has budgets",
    ),
}  # fmt: skip

RULES: tuple[dict[str, Any], ...] = (
    {"rule": "token-cap", "max_tokens": 9, "upscale": True},
    {"rule": "native"},
    {"rule": "native", "fit": "crop", "pad_rgb": [1, 2, 3]},
    {"rule": "naflex", "max_tokens": 9},
    {"rule": "smart-resize", "merge": 2, "min_pixels": 16, "max_pixels": 1024},
    {"rule": "smart-resize", "merge": 2, "min_pixels": 16, "max_pixels": 1024, "enlarge": "floor"},
    {"rule": "longest-side", "longest_px": 64, "merge": 2},
    {"rule": "fixed", "height_px": 8, "width_px": 16},
    {"rule": "patch-budget", "merge": 3, "max_tokens": 630},
)
#: Of each kind one, and what meets or leaves a limit.
VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 9, 1.0, 0.5, 2**31, 2**63, "", "x", "pad", "floor", [], {}, [0, 0, 0]
)  # fmt: skip


@pytest.fixture(scope="module")
def schema(repository: Path) -> Any:
    return json.loads((repository / "docs" / "manifest.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator(schema: Any) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def refusal(raw: bytes) -> str:
    """What the readers say against a manifest; "" if they take it."""
    try:
        _core.check_manifest(raw, source="manifest.json")
    except BundleError as error:
        return str(error)
    return ""


def is_newer(content: Any) -> bool:
    """Whether it claims a later minor schema than the one that the document describes."""
    minor = content.get("schema_minor", 0) if isinstance(content, dict) else 0
    return type(minor) is int and minor > SCHEMA_MINOR


def beyond_a_schema(message: str) -> bool:
    return any(words in message for reasons in BEYOND_A_SCHEMA.values() for words in reasons)


@pytest.mark.parametrize("takes", [True, False], ids=["taken", "refused"])
def test_the_schema_judges_the_corpus_as_the_readers_do(validator: Any, takes: bool) -> None:
    used: set[str] = set()
    for case in CORPUS["cases"]:
        if case["takes"] is not takes:
            continue
        raw = text_of(case)
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            continue  # no JSON, so nothing that a schema could judge
        if is_newer(content):
            continue
        if validator.is_valid(content) is not takes:
            assert not takes, case["name"]
            assert beyond_a_schema(case["message"]) or beyond_a_schema(refusal(raw)), case["name"]
            used |= {why for why, words in BEYOND_A_SCHEMA.items() if any(word in refusal(raw) for word in words)}
    assert used == (set() if takes else set(BEYOND_A_SCHEMA))  # no excuse that nothing needs


def compare_with_many_values(schema: Any, base: dict[str, Any], pointers: list[str]) -> None:
    for pointer in pointers:
        top = pointer.split("/")[1]  # only this part changes, so only this part is judged: it is much faster
        part = jsonschema.Draft202012Validator({**schema["properties"][top], "$defs": schema["$defs"]})
        assert part.is_valid(base[top])
        for value in VALUES:
            content = copy.deepcopy(base)
            put(content, pointer, value)
            message, valid = refusal(json.dumps(content).encode()), part.is_valid(content[top])
            if is_newer(content) or valid is not bool(message):
                continue  # one opinion: valid and not refused, or neither
            assert valid, f"the schema refuses {pointer} = {value!r}, which the readers take"
            assert beyond_a_schema(message), f"the schema takes {pointer} = {value!r}: {message}"


def test_the_schema_judges_every_field_with_many_values_as_the_readers_do(schema: Any) -> None:
    compare_with_many_values(schema, CORPUS["base"], list(nodes(CORPUS["base"])))


def test_the_schema_judges_the_processor_and_the_version_that_it_needs_as_the_readers_do(validator: Any) -> None:
    raw = text_of(next(case for case in CORPUS["cases"] if case["name"] == "the processor torchvision"))
    for version in (1, 2, 3):
        for minor in (None, 0, SCHEMA_MINOR):
            for processor in (None, "pillow", "torchvision", "timm", "x"):
                for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
                    content = json.loads(raw) | {"schema_version": version}
                    content["preprocess"] |= {"filter": name, "processor": processor}
                    if minor is not None:
                        content["schema_minor"] = minor
                    if processor is None:
                        del content["preprocess"]["processor"]
                    refused = refusal(json.dumps(content).encode())
                    assert validator.is_valid(content) is not bool(refused), (version, minor, processor, name)


def test_the_schema_judges_the_fields_of_a_text_tower_as_the_readers_do(schema: Any) -> None:
    base = text_of(next(case for case in CORPUS["cases"] if case["name"] == "a text tower"))
    content = json.loads(base)
    compare_with_many_values(schema, content, [pointer for pointer in nodes(content) if pointer.startswith("/text")])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
def test_the_schema_judges_the_fields_of_every_rule_as_the_readers_do(schema: Any, rule: dict[str, Any]) -> None:
    small = {name: CORPUS["base"][name] for name in ("schema_version", "name", "created_by", "model")}
    small |= {"graphs": [], "preprocess": CORPUS["base"]["preprocess"] | {"sizing": rule}}
    fields = msgspec.json.schema(Sizing)["$defs"]["Sizing"]["properties"]
    compare_with_many_values(schema, small, [f"/preprocess/sizing/{field}" for field in fields])


def test_the_schema_has_the_fields_of_the_manifest_and_no_others(schema: Any) -> None:
    structs = msgspec.json.schema(Manifest)["$defs"]
    names = {"TensorSpec": "tensor", "EngineGroup": "group", "TextTower": "text_tower", "TextEngine": "text_engine"}
    assert schema["required"] == [name for name in schema["properties"] if name in structs["Manifest"]["required"]]
    assert set(schema["properties"]) >= set(structs["Manifest"]["properties"])
    for name, struct in structs.items():
        if name in ("Manifest", "BudgetCost", "Sizing"):
            continue
        found = schema["$defs"][names.get(name, name.lower())]
        assert set(found["properties"]) == set(struct["properties"]), name
        assert sorted(found["required"]) == sorted(struct["required"]), name
    for rule in schema["$defs"]["sizing"]["oneOf"]:
        assert set(rule["properties"]) == set(structs["Sizing"]["properties"])
