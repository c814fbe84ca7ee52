// The table that both readers of manifests are held to: tests/data/manifests/corpus.json. Python's side of it:
// tests/python/test_manifest_corpus.py.
#include <algorithm>
#include <fstream>
#include <string>

#include "navit_edge/error.h"
#include "navit_edge/manifest_text.h"
#include "nlohmann/json.hpp"
#include "support/check.h"

using namespace navit_edge;
using nlohmann::json;
using Pointer = json::json_pointer;

namespace {

const json& corpus() {
  static const json read = json::parse(std::ifstream(NAVIT_EDGE_MANIFEST_CORPUS));
  return read;
}

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string repeated(const std::string& text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

/// The manifest of a case: the base, changed as the case says.
std::string text_of(const json& one) {
  if (one.contains("text")) return one["text"];
  if (one.contains("hex")) return bytes_of(one["hex"]);
  json content = corpus()["base"];
  for (const std::string pointer : one.value("remove", json::array())) {
    const Pointer at(pointer);
    content[at.parent_pointer()].erase(at.back());
  }
  const json set = one.value("set", json::object());
  for (const auto& [pointer, value] : set.items()) content[Pointer(pointer)] = value;
  if (one.contains("copy")) {
    const json copied = content[Pointer(one["copy"][0].get<std::string>())];
    content[Pointer(one["copy"][1].get<std::string>())] = copied;
  }
  if (one.contains("fill")) {
    const json& fill = one["fill"];
    content[Pointer(fill["path"].get<std::string>())] = json(fill["count"].get<std::size_t>(), fill["value"]);
  }
  std::string text = content.dump();
  if (one.contains("edit")) {
    const json& edit = one["edit"];
    const auto times = edit.value("times", std::size_t{0});
    const std::string made = edit.value("with", "") + repeated(edit.value("open", ""), times) +
                             edit.value("middle", "") + repeated(edit.value("close", ""), times);
    const std::string find = edit["find"];
    const std::size_t at = text.find(find);
    REQUIRE(at != std::string::npos);
    text.replace(at, find.size(), edit.contains("hex") ? bytes_of(edit["hex"]) : made);
  }
  text += bytes_of(one.value("append_hex", ""));
  text.resize(std::max(text.size(), one.value("pad", std::size_t{0})), ' ');
  return text;
}

}  // namespace

TEST_CASE("a manifest is taken or refused, with the reason, as the table says") {
  for (const json& one : corpus()["cases"]) {
    const std::string name = one["name"];
    std::string found = "taken";
    try {
      (void)parse_manifest(text_of(one), "x/manifest.json");
    } catch (const BundleError& e) {
      found = e.what();
    }
    const bool right = one["takes"].get<bool>() ? found == "taken" : found.find(one["message"]) != std::string::npos;
    if (!right) std::fprintf(stderr, "%s: %s\n", name.c_str(), found.c_str());
    CHECK(right);
  }
}

TEST_CASE("text cut at any byte is refused") {
  const std::string whole = corpus()["base"].dump();
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    CHECK_THROWS_AS(parse_manifest(whole.substr(0, size), "x"), BundleError);
  }
}

TEST_CASE("a byte turned into any other is a BundleError or a good read") {
  const std::string whole = corpus()["base"].dump();
  std::uint32_t random = 1;
  for (int i = 0; i < 5000; ++i) {
    std::string text = whole;
    random = random * 1664525U + 1013904223U;
    text[(random >> 8) % text.size()] = static_cast<char>(random);
    try {
      (void)parse_manifest(text, "x");
    } catch (const BundleError&) {
      continue;
    }
  }
  CHECK(true);
}
