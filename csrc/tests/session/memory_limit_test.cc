// What a session gives up so that its process stays under a limit, and what it says if it cannot.
#include "session/memory_limit.h"

#include <algorithm>
#include <string>

#include "navit_edge/error.h"
#include "navit_edge/memory.h"
#include "support/check.h"
#include "support/test_bundle.h"

using namespace navit_edge;

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr Process kProcess{40 * kMiB, false};

/// A model of width 512 with an engine of 64 MiB for packs of up to 16384 tokens, images of up to 256.
struct Planned {
  Planned() {
    TestBundle bundle;
    bundle.json["engines"][0]["budgets"][0] = {{"tokens", 16384}, {"images", 1024}, {"target_tokens", 768}};
    bundle.json["preprocess"]["sizing"]["max_tokens"] = 256;
    bundle.json["model"]["width"] = 512;
    manifest = Manifest::load(bundle.write());
    manifest.files["engines/fake.bin"].bytes = 64 * kMiB;
    manifest.engines[0].backend = "openvino";
    choice.engine = manifest.engines[0];
    choice.members = {manifest.engines[0]};
    choice.member_of = {0};
    choice.devices.resize(1);
    options.threads = 2;
  }
  MemoryLimit keep(std::size_t most) {
    options.max_memory_bytes = most;
    return keep_under(manifest, choice, options, kProcess);
  }
  Manifest manifest;
  EngineChoice choice;
  SessionOptions options;
};

}  // namespace

TEST_CASE("without a limit nothing is changed") {
  Planned planned;
  const MemoryLimit limit = planned.keep(0);
  CHECK(limit.most == 0);
  CHECK(limit.left == 0);
  CHECK(planned.options.slots == 0);
  CHECK(planned.options.queue_bytes == std::uint64_t{1} << 30);
  CHECK(planned.choice.engine.budgets[0].tokens == 16384);
  CHECK(limit.need.process == 40 * kMiB);
  const SessionNeed need = need_of(planned.manifest, planned.choice, planned.options, kProcess);
  CHECK(need.engine.weights >= 2 * 2 * 64 * kMiB);  // the file and its copy, of an engine and of its pair
}

TEST_CASE("what is needed stays within every limit that is not refused, and more memory never gives less") {
  std::int32_t tokens = 0;
  std::size_t sessions = 0;
  bool paired = false;
  for (std::size_t most = 64 * kMiB; most <= 1024 * kMiB; most += 8 * kMiB) {
    Planned planned;
    try {
      const MemoryLimit limit = planned.keep(most);
      ++sessions;
      CHECK(limit.need.total() + limit.left == most);
      CHECK(planned.options.queue_bytes <= std::max<std::uint64_t>(1, limit.left));
      const Budget& budget = planned.choice.engine.budgets[0];
      CHECK(budget.tokens >= 256);  // the longest image still fits
      CHECK(budget.tokens >= tokens);
      CHECK(budget.tokens == planned.choice.members[0].budgets[0].tokens);
      CHECK(budget.target_tokens <= budget.tokens);
      CHECK(budget.images <= budget.tokens);
      tokens = budget.tokens;
      CHECK(!paired || planned.options.slots == 0);
      paired = planned.options.slots == 0;
    } catch (const BackendError& e) {
      CHECK(sessions == 0);
      CHECK(std::string(e.what()).find("max_memory is " + std::to_string(most / kMiB) + " MiB") != std::string::npos);
    }
  }
  CHECK(sessions > 0);
  CHECK(tokens == 768);  // packs are never filled further, whatever there is
  CHECK(paired);
}

TEST_CASE("what was asked for is kept, and named if it does not fit") {
  Planned two;
  two.options.slots = 2;
  two.options.cache_bytes = 512 * kMiB;
  std::string why;
  try {
    two.keep(512 * kMiB);
  } catch (const BackendError& e) {
    why = e.what();
  }
  for (const char* part : {"40 MiB that the process holds already", "for weights", "512 MiB for remembered results",
                           "ask for fewer slots", "lower cache_bytes", "lower max_tokens_per_image"}) {
    CHECK(why.find(part) != std::string::npos);
  }
  CHECK(two.options.slots == 2);
  Planned own;
  own.options.backend["CPU_RUNTIME_CACHE_CAPACITY"] = "200";
  CHECK(own.keep(1024 * kMiB).need.engine.shapes > 60 * kMiB);
  CHECK(own.options.backend["CPU_RUNTIME_CACHE_CAPACITY"] == "200");
}

TEST_CASE("the libraries count once in a process") {
  const Planned planned;
  const std::size_t first = need_of(planned.manifest, planned.choice, planned.options, {kMiB, false}).total();
  const std::size_t later = need_of(planned.manifest, planned.choice, planned.options, {kMiB, true}).total();
  CHECK(first - later == engine_memory(planned.manifest, planned.choice.engine).library);
}
