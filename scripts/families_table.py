"""The table of a run of `make verify-families`, as docs/families.md has it, from pytest's XML.

    python scripts/families_table.py build/verify-families.xml

A row for each kind of model of verify_families.py, with what its tests recorded, and one for each family of
verify_every_family.py. A test that failed is "failed".
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from xml.etree import ElementTree

COLUMNS = ("OpenVINO fp32", "sm86+sm89 bf16", "sm75 fp16")
_KIND = re.compile(
    r"test_(?:attention_is_fused_for_every_target|a_session_of_openvino\w*)\[([\w.-]+?)(?:-targets\d-\w+)?\]"
)


def main() -> None:
    (suite,) = ElementTree.parse(sys.argv[1]).getroot().iter("testsuite")
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for case in suite.iter("testcase"):
        if found := _KIND.fullmatch(case.attrib["name"]):
            for recorded in case.iter("property"):
                kinds[found[1]][recorded.attrib["name"]] = recorded.attrib["value"]
            if case.find("failure") is not None or case.find("error") is not None:
                kinds[found[1]]["failed"] = "failed"
    print(f"{suite.attrib['timestamp'][:10]}, {float(suite.attrib['time']) / 60:.0f} minutes: ", end="")
    print(", ".join(f"{suite.attrib[name]} {name}" for name in ("tests", "failures", "errors", "skipped")))
    print()
    print(f"| kind | {' | '.join(COLUMNS)} |")
    print(f"|---|{'---|' * len(COLUMNS)}")
    for kind, cells_of in kinds.items():
        cells = [cells_of.get(column, cells_of.get("failed", "")) for column in COLUMNS]
        print(f"| `{kind}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
