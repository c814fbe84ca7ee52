"""How to run a bundle, in the languages that it is run from."""

from __future__ import annotations

import shlex

from navit_edge.bundle.manifest import Manifest
from navit_edge.report.content import Use

_CPP = """\
#include <navit_edge/navit_edge.h>

navit_edge::Session session({name});
const std::vector<navit_edge::ImageView> images = load();  // yours: 8-bit pixels that you own
for (const navit_edge::Result& result : session.run(images)) {{
  use(result.{output});
}}
"""


def ways_to_use(name: str, manifest: Manifest) -> tuple[Use, ...]:
    """Nothing without an engine."""
    if not manifest.engines:
        return ()
    quoted = shlex.quote(name)
    outputs = [spec.name for spec in manifest.graphs[0].outputs] if manifest.graphs else []
    classes = "logits" in outputs
    best = " --top-k 3" if classes else ""
    output = "logits" if classes else outputs[0] if outputs else "embedding"
    python = "result.top_k(3)" if classes else f"result.{output}.shape"
    return (
        Use(
            title="From a shell",
            language="shell",
            text=f"navit-edge run {quoted} photos/{best}\nnavit-edge run {quoted} photos/ -o results.parquet\n"
            f"navit-edge serve {quoted}\n",
        ),
        Use(
            title="From Python",
            language="python",
            text="import navit_edge as ne\n\n"
            f"with ne.Session({name!r}) as session:\n"
            '    for result in session.run(["photo.jpg", "wide.png"]):\n'
            f"        print(result.grid, {python})\n",
        ),
        Use(title="From C++", language="cpp", text=_CPP.format(name=_c_text(name), output=output)),
    )


def _c_text(text: str) -> str:
    """As a literal of C++."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
