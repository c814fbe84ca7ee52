"""The pages of the documentation, their fenced blocks, and what a comment before a block says of it.

A block in one of `COMMANDS` is run by test_docs_commands.py. One that cannot be has a comment on the line before it:

    <!-- needs a Jetson -->                          a device, a program or a network that a test does not have
    <!-- run by tests/consumer/test_consumer.py -->  another test runs what it says
    <!-- form -->                                    options in brackets; test_docs_paths.py looks them up
    <!-- sketch -->                                  parts are left out; Python must still be Python
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]
COMMANDS = ("console", "sh", "python", "cpp", "c", "cmake")
#: What is only read: output, trees of files, formulas, other programs' files.
TEXTS = ("text", "json", "yaml")
_FENCED = re.compile(
    r"(?:^[ ]*<!-- (?P<reason>needs|run by|form|sketch)(?: (?P<what>[^>\n]*?))? -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. reason, what: of the comment before it, or ""."""

    page: str
    line: int  # of its first line
    language: str
    text: str
    reason: str
    what: str

    @property
    def place(self) -> str:
        """As compilers and editors write it."""
        return f"{self.page}:{self.line}"


@functools.cache
def page_text(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "CHANGELOG.md":  # what was released keeps the names of its day
        text = re.split(r"^## (?!Unreleased)", text, maxsplit=1, flags=re.MULTILINE)[0]
    return text


@functools.cache
def fenced(page: str) -> tuple[Block, ...]:
    """The fenced blocks of a page, in order."""
    text = page_text(page)
    return tuple(
        Block(
            page=page,
            line=text.count("\n", 0, found.start("text")) + 1,
            language=found["language"],
            text=re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            reason=found["reason"] or "",
            what=found["what"] or "",
        )
        for found in _FENCED.finditer(text)
    )


@functools.cache
def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page_text(page))


@functools.cache
def spans(page: str) -> list[str]:
    """The code spans, each on one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def shell_lines(block: Block) -> list[str]:
    """The commands of a block, continued lines joined, without prompts and comments."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    lines = [re.sub(r"(?:^|\s+)#.*$", "", line.removeprefix("$ ")).strip() for line in joined.splitlines()]
    return [line for line in lines if line]
