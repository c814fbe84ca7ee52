"""What borrows from a temporary does not compile; the same of something that stays does."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PRELUDE = """
#include <navit_edge/navit_edge.h>
#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>
using namespace navit_edge;
using Bytes = std::vector<std::uint8_t>;
HostTensor make_tensor();
Engine make_engine();
OutputView make_output();
Bytes make_bytes();
std::vector<ImageView> make_views();
template <class T> void use(const T&) {}
"""

#: What -> (what must compile, what must not). Each is the body of a function with a `path` and a `session`.
PAIRS = {
    "the manifest of a session": (
        "Session s(path); const Manifest& m = s.manifest(); use(m);",
        "const Manifest& m = Session(path).manifest(); use(m);",
    ),
    "the engine of a session": (
        "const Session s(path); const std::string& id = s.engine().id; use(id);",
        "const std::string& id = Session(path).engine().id; use(id);",
    ),
    "the candidates of a session": (
        "Session s(path); for (const Candidate& one : s.candidates()) use(one);",
        "for (const Candidate& one : Session(path).candidates()) use(one);",
    ),
    "the candidates of a session that moves": (
        "use(session.candidates());",
        "use(std::move(session).candidates());",
    ),
    "an engine of a manifest": (
        'const Manifest m = Manifest::load(path); const EngineSpec& e = m.engine("e"); use(e);',
        'const EngineSpec& e = Manifest::load(path).engine("e"); use(e);',
    ),
    "a graph of a manifest": (
        'const Manifest m = Manifest::load(path); const GraphSpec& g = m.graph("g"); use(g);',
        'const GraphSpec& g = Manifest::load(path).graph("g"); use(g);',
    ),
    "the bytes of a tensor": (
        "HostTensor t = make_tensor(); std::byte* bytes = t.data(); use(bytes);",
        "const std::byte* bytes = make_tensor().data(); use(bytes);",
    ),
    "the values of a tensor": (
        "const HostTensor t = make_tensor(); const float* values = t.as<float>(); use(values);",
        "const float* values = make_tensor().as<float>(); use(values);",
    ),
    "the shape of a tensor": (
        "HostTensor t = make_tensor(); std::span<const std::int64_t> shape = t.shape(); use(shape);",
        "std::span<const std::int64_t> shape = make_tensor().shape(); use(shape);",
    ),
    "the name of a tensor": (
        "HostTensor t = make_tensor(); std::string_view name = t.name(); use(name);",
        "std::string_view name = make_tensor().name(); use(name);",
    ),
    "memory lent to a tensor": (
        "std::vector<std::byte> memory(64); HostTensor t = make_tensor(); t.lend(memory);",
        "HostTensor t = make_tensor(); t.lend(std::vector<std::byte>(64));",
    ),
    "memory of an engine": (
        'Engine e = make_engine(); std::span<std::byte> memory = e.input_memory(0, "patches", 64); use(memory);',
        'std::span<std::byte> memory = make_engine().input_memory(0, "patches", 64); use(memory);',
    ),
    "what a pack writer writes": (
        "const PackWriter writer{PackSpec{}}; const GraphSpec& graph = writer.spec().graph; use(graph);",
        "const GraphSpec& graph = PackWriter{PackSpec{}}.spec().graph; use(graph);",
    ),
    "an output": (
        "const OutputView view = make_output(); std::span<const float> values = view.values(); use(values);",
        "std::span<const float> values = make_output().values(); use(values);",
    ),
    "the logits of a result": (
        "const std::vector<Result> r = session.run(make_views()); const auto v = r[0].logits.values(); use(v);",
        "const auto v = Result().logits.values(); use(v);",
    ),
    "an image in a vector": (
        "const Bytes pixels = make_bytes(); ImageView view = view_of(pixels, {4, 4}); use(view);",
        "ImageView view = view_of(make_bytes(), {4, 4}); use(view);",
    ),
    "an image in a constant vector": (
        "const Bytes pixels = make_bytes(); use(view_of(pixels, {4, 4}, PixelFormat::kBgr));",
        "const Bytes pixels = make_bytes(); use(view_of(std::move(pixels), {4, 4}, PixelFormat::kBgr));",
    ),
    "an image in an array": (
        "std::array<std::uint8_t, 48> pixels{}; use(view_of(pixels, {4, 4}));",
        "use(view_of(std::array<std::uint8_t, 48>(), {4, 4}));",
    ),
    "an image that another owns": (
        "const Bytes pixels = make_bytes(); use(view_of(std::span(pixels), {4, 4}));",  # a span of what stays is a view
        "use(view_of(std::span(make_bytes()), {4, 4}));",
    ),
    "an image given away": (
        "Bytes pixels = make_bytes(); session.submit(owned_image(std::move(pixels), {4, 4}));",
        "Bytes pixels = make_bytes(); session.submit(owned_image(pixels, {4, 4}));",
    ),
    "an image submitted": (
        "const ImageView view; session.submit({view, nullptr});",  # in so many words: nobody owns it
        "const ImageView view; session.submit(view);",
    ),
    "a stream over a session": (
        "Session s(path); Stream stream(s); use(stream.capacity());",
        "Stream stream{Session(path)}; use(stream.capacity());",
    ),
    "an image that may be refused": (
        "OwnedImage image; session.try_submit(image, {}, [](Result&&) {});",
        "session.try_submit(OwnedImage(), {}, [](Result&&) {});",
    ),
}


def compile_all(bodies: list[str], include: Path, folder: Path) -> tuple[int, str, dict[int, int]]:
    """Exit code, output, and which line each body stands on."""
    source = folder / "snippets.cc"
    lines = PRELUDE.splitlines()
    at = {}
    for index, body in enumerate(bodies):
        lines.append(f"void f{index}([[maybe_unused]] const std::filesystem::path& path, "
                     "[[maybe_unused]] Session& session) {")  # fmt: skip
        lines.append(body)
        at[index] = len(lines)
        lines.append("}")
    source.write_text("\n".join(lines) + "\n")
    finished = subprocess.run(
        [os.environ.get("CXX", "c++"), "-std=c++20", "-fsyntax-only", f"-I{include}", str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout, at


@pytest.fixture(scope="module")
def include(repository: Path) -> Path:
    return repository / "csrc" / "include"


def test_borrowing_from_what_stays_compiles(include: Path, tmp_path: Path) -> None:
    code, output, _ = compile_all([good for good, _ in PAIRS.values()], include, tmp_path)
    assert code == 0, output


def test_borrowing_from_a_temporary_does_not_compile(include: Path, tmp_path: Path) -> None:
    """All at once: the compiler names every line; one that it does not name has compiled."""
    code, output, at = compile_all([bad for _, bad in PAIRS.values()], include, tmp_path)
    assert code != 0
    refused = {int(line) for line in re.findall(r"snippets\.cc:(\d+):\d+: error:", output)}
    compiled = [name for index, name in enumerate(PAIRS) if at[index] not in refused]
    assert compiled == [], output
    assert refused == set(at.values()), output  # nothing else is wrong with them
