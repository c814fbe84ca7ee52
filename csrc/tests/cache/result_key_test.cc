// Never a wrong hit: each thing that decides the numbers of an image gives another key when it changes.
#include "cache/result_key.h"

#include <functional>
#include <set>
#include <vector>

#include "support/check.h"

using namespace navit_edge;

namespace {

/// All that a key is made of.
struct Case {
  Case() {
    manifest.sha256 = "the bundle";
    choice.engine.id = "cpu";
    choice.engine.graph = "padded";
    choice.engine.precision = Precision::kFp32;
    choice.devices.emplace_back().words = "a processor";
    choice.members.resize(1);
    choice.members[0].id = "cpu";
    choice.members[0].options["a"] = "b";
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i);
    image = {pixels.data(), 8, 8, 3, 0};
    content.digest.fill(7);
  }
  [[nodiscard]] KeyMaker maker() const { return {manifest, choice, options}; }
  [[nodiscard]] ResultKey of_pixels() const { return maker().of(image, {grid}, policy, nullptr, preprocess, 1); }
  [[nodiscard]] ResultKey of_content() const { return maker().of(image, {grid}, policy, &content, preprocess, 1); }

  std::vector<std::uint8_t> pixels = std::vector<std::uint8_t>(192);
  Manifest manifest;
  EngineChoice choice;
  SessionOptions options;
  PreprocessSpec preprocess;
  ImageView image;
  Grid grid{2, 2};
  Policy policy;
  Content content;
};

using Change = std::function<void(Case&)>;

const std::vector<Change> kOfTheSession = {
    [](Case& c) { c.manifest.sha256 = "another bundle"; },
    [](Case& c) { c.choice.engine.id = "gpu"; },
    [](Case& c) { c.choice.engine.graph = "packed"; },
    [](Case& c) { c.choice.engine.precision = Precision::kBf16; },
    [](Case& c) { c.choice.devices.front().words = "another processor"; },
    [](Case& c) { c.choice.members.resize(2); },
    [](Case& c) { c.choice.members[0].id = "gpu"; },
    [](Case& c) { c.choice.members[0].options["a"] = "c"; },
    [](Case& c) { c.choice.members[0].options["c"] = "b"; },
    [](Case& c) { c.options.max_tokens_per_image = 64; },
    [](Case& c) { c.options.overflow = Overflow::kDownscale; },
};
const std::vector<Change> kOfThePixels = {
    [](Case& c) { c.pixels[100] ^= 1U; },
    [](Case& c) { c.image = {c.pixels.data(), 4, 16, 3, 0}; },
    [](Case& c) { c.image.format = PixelFormat::kBgr; },
    [](Case& c) { c.image = {c.pixels.data(), 8, 24, 1, 0}; },
    [](Case& c) { c.image = {c.pixels.data(), 4, 8, 4, 0}; },  // RGBA, dropped
    [](Case& c) {
      c.image = {c.pixels.data(), 4, 8, 4, 0};
      c.preprocess.alpha = Alpha::kComposite;
    },
    [](Case& c) {
      c.image = {c.pixels.data(), 4, 8, 4, 0};
      c.preprocess.alpha = Alpha::kComposite;
      c.preprocess.background = {0, 0, 0};
    },
    [](Case& c) { c.grid = {2, 3}; },
    [](Case& c) { c.grid = {3, 2}; },
};

}  // namespace

TEST_CASE("each field flipped gives another key of the pixels") {
  std::set<ResultKey> seen{Case().of_pixels()};
  for (const auto& changes : {kOfTheSession, kOfThePixels}) {
    for (const Change& change : changes) {
      Case changed;
      change(changed);
      CHECK(seen.insert(changed.of_pixels()).second);
    }
  }
}

TEST_CASE("each field flipped gives another key of a content, which needs no pixels") {
  std::set<ResultKey> seen{Case().of_pixels(), Case().of_content()};
  CHECK(seen.size() == 2);
  for (const Change& change : kOfTheSession) {
    Case changed;
    change(changed);
    CHECK(seen.insert(changed.of_content()).second);
  }
  Case other;
  other.content.digest[31] ^= 1U;
  CHECK(seen.insert(other.of_content()).second);
  other = Case();
  for (const char* policy : {"fast", "balanced", "token-cap:9", "token-cap:8", "content", "content:flat=0.03"}) {
    other.policy = Policy::parse(policy);
    CHECK(seen.insert(other.of_content()).second);
    CHECK(other.maker().of(other.content.digest, other.policy) == other.of_content());
  }
  other = Case();
  other.pixels[0] ^= 1U;
  other.content.note = "notes do not count";
  CHECK(other.of_content() == Case().of_content());
}

TEST_CASE("under a latency target, whose grid depends on the load, the grid is in the key of a content") {
  Case one;
  one.policy = Policy::latency(20e3);
  CHECK(!one.maker().of(one.content.digest, one.policy));
  Case other = one;
  other.image.data = other.pixels.data();
  CHECK(one.of_content() == other.of_content());
  other.grid = {1, 2};
  CHECK(one.of_content() != other.of_content());
}
