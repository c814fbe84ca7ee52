"""Text of others on its way to a terminal and into rows (navit_edge.text)."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from navit_edge.text import key_of, path_of, safe_json, shown, shown_lines, without_halves

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=20)
#: File names are bytes: any but NUL, and often near to what an escape looks like.
NAMES = st.lists(
    st.one_of(st.sampled_from([b"\\", b"x", b"5c", b"ff", b"\xff", b"\\xff", b"\\x5c", "é".encode(), b"\x1b"]),
              st.binary(min_size=1, max_size=3)), max_size=8
).map(lambda parts: b"".join(parts).replace(b"\0", b""))  # fmt: skip


@given(ANYTHING)
def test_nothing_that_a_terminal_obeys_is_left_in_what_is_shown(text: str) -> None:
    for result in (shown(text), shown_lines(text).replace("\n", "")):
        kinds = {unicodedata.category(character) for character in result}
        assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
        bidirectional = {unicodedata.bidirectional(character) for character in result}
        assert not bidirectional & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        result.encode("utf-8")
    assert shown(shown(text)) == shown(text)


@pytest.mark.parametrize("text", ["naïve.png", "日本 語.jpg", "👩‍👩‍👧.png", "می‌خواهم", r"back\slash", "-r", ""])
def test_names_that_people_have_are_shown_as_they_are(text: str) -> None:
    assert shown(text) == text
    assert key_of(text) == text


def test_what_is_not_shown_can_be_told_from_what_is_written_in_its_place() -> None:
    assert shown("a\x1b]0;owned\x07\u202egnp.\x9b\n") == r"a\x1b]0;owned\x07\u202egnp.\x9b\n"
    assert shown(os.fsdecode(b"th\xe9.jpg")) == r"th\xe9.jpg"
    assert shown_lines("one\ntwo\r\x1b[2J") == "one\ntwo\\r\\x1b[2J"


@given(NAMES)
@example(b"by\xff.png")
@example(b"by\\xff.png")
@example(b"\\x5cxff\\\xff")
def test_the_key_of_a_path_leads_back_to_its_bytes_so_that_no_two_paths_have_one(name: bytes) -> None:
    key = key_of(name)
    key.encode("utf-8")
    assert os.fsencode(path_of(key)) == name
    assert key_of(os.fsdecode(name)) == key


@given(ANYTHING)
def test_json_that_is_safe_on_a_terminal_has_the_same_value(text: str) -> None:
    safe = safe_json(json.dumps({"file": text}, ensure_ascii=False))
    assert json.loads(safe) == {"file": without_halves(text)}
    assert shown(safe) == safe
    safe.encode("utf-8")
