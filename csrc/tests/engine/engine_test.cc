#include "navit_edge/engine.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/pack_writer.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

using Options = std::map<std::string, std::string>;

/// An engine of the fake backend with two slots, and a pack of three pictures for it.
struct Opened {
  explicit Opened(Options backend_options)
      : manifest(Manifest::load(bundle.write())), backend(Backend::load("fake", {{kFakes}, {}})) {
    EngineOptions engine_options;
    engine_options.slots = 2;
    engine_options.backend = std::move(backend_options);
    engine.emplace(backend, manifest, manifest.engines.front(), engine_options);
  }

  [[nodiscard]] const GraphSpec& graph() const { return manifest.graph(manifest.engines.front().graph); }

  void write(Pack& pack) const {
    std::vector<Grid> grids;
    PackPlan plan;
    for (const ImageView& view : views) {
      grids.push_back(resize_target(view.size(), manifest.preprocess));
      plan.images.push_back(static_cast<std::int32_t>(plan.images.size()));
      plan.tokens += static_cast<std::int32_t>(grids.back().tokens());
    }
    const PackSpec spec{manifest.preprocess, manifest.model, graph(), manifest.engines.front().budgets, true};
    PackWriter(spec).write(plan, views, grids, 1, pack);
  }

  std::vector<float> embedding(int slot, const Pack& pack) {
    std::vector<HostTensor> outputs;
    outputs.emplace_back("embedding", DType::kFloat32);
    outputs.back().resize(std::vector<std::int64_t>{pack.images, 5});
    engine->run(slot, pack.inputs, outputs);
    return {outputs[0].as<float>(), outputs[0].as<float>() + pack.images * 5};
  }

  TestBundle bundle;
  Manifest manifest;
  const Backend& backend;
  std::optional<Engine> engine;
  std::vector<Picture> pictures = some_pictures(3);
  std::vector<ImageView> views = views_of(pictures);
};

}  // namespace

TEST_CASE("an engine runs on the bytes that were hashed, whatever becomes of its file") {
  Opened opened(Options{{"take_content", "1"}});
  const auto file = opened.bundle.path() / "engines/fake.bin";
  std::filesystem::resize_file(file, 0);
  CHECK(opened.engine->report().find("\"content\": \"an engine\"") != std::string::npos);
  std::filesystem::remove(file);
  CHECK(opened.engine->report().find("\"content\": \"an engine\"") != std::string::npos);
}

TEST_CASE("an engine's report comes whole, however long it is") {
  for (const char* extra : {"0", "900", "1000", "50000"}) {
    const Opened opened(Options{{"report_bytes", extra}});
    const auto report = nlohmann::json::parse(opened.engine->report());
    CHECK(report["slots"] == 2);
    CHECK(report["device"] == "an \"abacus\"\n");
    CHECK(report["padding"].get<std::string>().size() == std::stoul(extra));
  }
}

TEST_CASE("a pack that was lent the engine's memory lies there and gives the same bits") {
  Opened opened(Options{{"lend_bytes", "100000"}});
  Pack own;
  opened.write(own);
  const auto expected = opened.embedding(0, own);
  for (const int slot : {0, 1}) {
    Pack pack;
    lend_inputs(*opened.engine, slot, opened.graph(), opened.manifest.engines.front().budgets.back(), pack);
    for (int turn = 0; turn < 2; ++turn) {
      opened.write(pack);
      int lent = 0;
      for (const HostTensor& input : pack.inputs) {
        const auto memory = opened.engine->input_memory(slot, input.name(), input.bytes());
        CHECK(memory.size() == input.bytes());
        lent += memory.data() == input.data() ? 1 : 0;
      }
      CHECK(lent == 6);  // all
      CHECK(opened.embedding(slot, pack) == expected);
    }
  }
  CHECK(opened.engine->input_memory(0, "patches", 64).data() != opened.engine->input_memory(1, "patches", 64).data());
}

TEST_CASE("a pack keeps memory of its own where the engine has none, or not enough") {
  for (const auto& options : {Options{}, Options{{"lend_bytes", "64"}}}) {
    Opened opened(options);
    CHECK(opened.engine->input_memory(0, "patches", 65).empty());
    Pack own;
    opened.write(own);
    Pack pack;
    lend_inputs(*opened.engine, 1, opened.graph(), opened.manifest.engines.front().budgets.back(), pack);
    opened.write(pack);
    CHECK(opened.embedding(1, pack) == opened.embedding(0, own));
  }
}

TEST_CASE("a slot that does not exist has no memory") {
  Opened opened(Options{});
  CHECK_THROWS_WITH_AS(opened.engine->input_memory(2, "patches", 1), "slot 2", InvalidInput);
  CHECK_THROWS_WITH_AS(opened.engine->input_memory(-1, "patches", 1), "slot -1", InvalidInput);
}
