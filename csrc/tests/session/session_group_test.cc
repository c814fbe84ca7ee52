// Groups: an engine for each token budget, run as one.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

constexpr const char* kLibrary = "libnavit_edge_fake_gpu.so";
const std::vector<std::int32_t> kTokens = {32, 70, 128};
const std::vector<std::string> kMembers = {"gpu-t32", "gpu-t70", "gpu-t128"};

/// One of three engines; it takes packs of exactly its tokens.
nlohmann::json member(std::size_t index) {
  nlohmann::json engine = TestBundle::engine(kMembers[index], "fake-gpu", "sm89");
  engine["dynamic_tokens"] = false;
  engine["strategy"] = "first-fit-decreasing";
  engine["budgets"] =
      nlohmann::json::array({{{"tokens", kTokens[index]}, {"images", 4}, {"target_tokens", kTokens[index]}}});
  engine["options"] = {{"tokens", std::to_string(kTokens[index])}};
  engine["group"] = {{"id", "gpu-all"}, {"members", kMembers}};
  engine["file"] = "engines/" + kMembers[index] + ".bin";
  return engine;
}

/// A bundle whose engines are a group, the largest first as build-engine writes it, and one for the CPU before them.
struct Group : TestBundle {
  Group() {
    for (const std::string& id : kMembers) put("engines/" + id + ".bin", "engine " + id);
    for (const std::size_t index : {2U, 0U, 1U}) json["engines"].push_back(member(index));
    write();
  }
};

SessionOptions named(const std::string& engine, int slots = 0) {
  SessionOptions session_options = options();
  session_options.engine = engine;
  session_options.slots = slots;
  return session_options;
}

}  // namespace

TEST_CASE("a group is taken whole, and each pack goes to the engine of the smallest budget that holds it") {
  const std::vector<Picture> pictures = some_pictures(40);
  const std::vector<ImageView> views = views_of(pictures);
  const Group bundle;
  (void)take_stats(kLibrary);
  std::map<std::string, int> packs_of;
  {
    Session session(bundle.path(), options());
    CHECK(session.engine().id == "gpu-all");
    REQUIRE(session.engine().budgets.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(session.engine().budgets[i].tokens == kTokens[i]);
    REQUIRE(session.candidates().size() == 1);
    CHECK(session.candidates()[0].engine == "gpu-all");
    CHECK(session.slots() == 2);
    for (std::size_t count = 1; count <= views.size(); ++count) {  // last packs of every size
      RunReport report;
      const std::vector<Result> results = session.run(std::span(views).first(count), &report);
      for (const Result& result : results) CHECK(result.error == nullptr);
      for (const PackReport& pack : report.packs) {
        const auto holds = std::find_if(kTokens.begin(), kTokens.end(),
                                        [&](std::int32_t t) { return pack.tokens <= t && pack.images <= 4; });
        REQUIRE(holds != kTokens.end());
        CHECK(pack.engine == kMembers[static_cast<std::size_t>(holds - kTokens.begin())]);
        CHECK(pack.budget_tokens == *holds);
        CHECK(pack.capacity == *holds);  // another engine would have refused it
        ++packs_of[pack.engine];
      }
    }
  }
  CHECK(packs_of.size() == 3);
  const FakeStats stats = take_stats(kLibrary);
  CHECK(stats.opened == 3);
  CHECK(stats.closed == 3);
  CHECK(stats.misuse == 0);
  CHECK(stats.most_in_flight_of_all <= 2);
}

TEST_CASE("a group gives the bits of one engine with the same budgets, whatever the slots") {
  const std::vector<Picture> pictures = some_pictures(30);
  const std::vector<ImageView> views = views_of(pictures);
  Group one;
  nlohmann::json whole = member(2);
  whole.erase("group");
  whole["id"] = "whole";
  whole["options"] = nlohmann::json::object();
  whole["budgets"] = nlohmann::json::array();
  for (const std::int32_t t : kTokens) whole["budgets"].push_back({{"tokens", t}, {"images", 4}, {"target_tokens", t}});
  one.json["engines"].push_back(whole);
  one.write();
  const std::vector<Result> expected = Session(one.path(), named("whole", 1)).run(views);
  for (const int slots : {1, 2, 3}) {
    const std::vector<Result> found = Session(one.path(), named("gpu-all", slots)).run(views);
    for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(found[i], expected[i]));
  }
}

TEST_CASE("packs of different engines of a group are in flight at once") {
  // 4 x 4 patches of 4 pixels go four to a pack of 70, 8 x 16 fill one of 128.
  const std::vector<Picture> pictures = [] {
    std::vector<Picture> made;
    made.emplace_back(1, 32, 64);
    made.emplace_back(2, 16, 16);
    return made;
  }();
  Group bundle;
  bundle.json["preprocess"]["sizing"] = {{"rule", "native"}};
  for (std::size_t i = 1; i < 4; ++i) bundle.json["engines"][i]["options"]["wait_for_runs"] = "2";
  bundle.write();
  Session session(bundle.path(), named("gpu-all", 2));
  (void)take_stats(kLibrary);
  RunReport report;
  (void)session.run(views_of(pictures), &report);
  REQUIRE(report.packs.size() == 2);
  CHECK(report.packs[0].engine == "gpu-t128");
  CHECK(report.packs[1].engine == "gpu-t32");
  const FakeStats stats = take_stats(kLibrary);
  CHECK(stats.gave_up == 0);
  CHECK(stats.most_in_flight_of_all == 2);
  CHECK(stats.most_in_flight == 1);
}

TEST_CASE("an engine of a group that is named runs alone") {
  const std::vector<Picture> pictures = some_pictures(9);
  const Group bundle;
  (void)take_stats(kLibrary);
  Session session(bundle.path(), named("gpu-t128"));
  CHECK(session.engine().id == "gpu-t128");
  CHECK(session.engine().budgets.size() == 1);
  RunReport report;
  (void)session.run(views_of(pictures), &report);
  for (const PackReport& pack : report.packs) {
    CHECK(pack.engine == "gpu-t128");
    CHECK(pack.capacity == 128);
  }
  CHECK(take_stats(kLibrary).opened == 1);
}

TEST_CASE("an image above all budgets of a group fails alone and is told the largest") {
  std::vector<Picture> pictures = some_pictures(3);
  pictures.emplace_back(9, 64, 64);  // 16 x 16 patches
  Group bundle;
  bundle.json["preprocess"]["sizing"] = {{"rule", "native"}};
  bundle.write();
  Session session(bundle.path(), named("gpu-all"));
  const std::vector<Result> results = session.run(views_of(pictures));
  CHECK(results[0].error == nullptr);
  CHECK(contains(message_of(results[3].error), "image 3 needs 256 tokens; the largest budget is 128"));
  CHECK_THROWS_AS(std::rethrow_exception(results[3].error), OverBudget);
}

TEST_CASE("a group with a file missing or altered is an error that names the engine, and leaves nothing open") {
  for (const bool missing : {true, false}) {
    const Group bundle;
    if (missing) {
      std::filesystem::remove(bundle.path() / "engines/gpu-t70.bin");
    } else {
      std::ofstream(bundle.path() / "engines/gpu-t70.bin") << "ENGINE gpu-t70";
    }
    (void)take_stats(kLibrary);
    const std::string expected = "the group gpu-all needs all its engines, and gpu-t70 cannot be opened: ";
    CHECK_THROWS_WITH_AS(Session(bundle.path(), options()), expected, BundleError);
    CHECK_THROWS_WITH_AS(Session(bundle.path(), options()), missing ? "is missing" : "was altered", BundleError);
    const FakeStats stats = take_stats(kLibrary);
    CHECK(stats.opened == stats.closed);
    CHECK(engine_of(bundle.path(), named("gpu-t128")) == "gpu-t128");
  }
}

TEST_CASE("a group whose engines are not all in the bundle is passed over with what it lacks") {
  Group bundle;
  bundle.json["engines"].erase(2);  // gpu-t32
  bundle.write();
  const Session session(bundle.path(), options());
  CHECK(session.engine().id == "fake-cpu-fp32");
  REQUIRE(session.candidates().size() == 2);
  CHECK(contains(session.candidates()[0].detail, "the group gpu-all lacks its engine gpu-t32; build it again"));
  CHECK_THROWS_WITH_AS(Session(bundle.path(), named("gpu-all")), "lacks its engine gpu-t32", BackendError);
  CHECK(engine_of(bundle.path(), named("gpu-t128")) == "gpu-t128");
}

TEST_CASE("engines that do not fit together are not run as a group") {
  const auto reason = [](auto change) {
    Group bundle;
    change(bundle.json["engines"][3]);  // gpu-t70
    const Session session(bundle.write(), options());
    return session.candidates()[0].detail;
  };
  CHECK(contains(reason([](nlohmann::json& e) { e["precision"] = "fp16"; }),
                 "its engines gpu-t32 and gpu-t70 differ in members, backend, target, precision"));
  CHECK(contains(reason([](nlohmann::json& e) { e["target"] = "sm86"; }), "differ in"));
  CHECK(contains(reason([](nlohmann::json& e) { e["dynamic_tokens"] = true; }), "dynamic tokens"));
  CHECK(contains(reason([](nlohmann::json& e) { e["group"]["members"] = {"gpu-t70", "gpu-t128"}; }),
                 "differ in members"));
  CHECK(contains(reason([](nlohmann::json& e) { e["budgets"][0]["tokens"] = 128; }), "overlap"));
  CHECK(contains(reason([](nlohmann::json& e) { e["options"]["refuse"] = "no beads"; }), "gpu-t70: no beads"));
}

TEST_CASE("memory that does not do for two slots of every engine gives one slot of every engine, with the reason") {
  Group bundle;
  bundle.json["engines"][2]["options"]["most_slots"] = "1";  // gpu-t32
  bundle.write();
  (void)take_stats(kLibrary);
  {
    const Session session(bundle.path(), options());
    CHECK(session.slots() == 1);
    CHECK(contains(session.candidates().back().detail,
                   "one pack at a time, since 2 slots did not open: the group gpu-all needs all its engines, and "
                   "gpu-t32 cannot be opened: "));
  }
  const FakeStats stats = take_stats(kLibrary);
  CHECK(stats.opened == stats.closed);
  CHECK(stats.slots_of_last_open == 1);
  CHECK_THROWS_WITH_AS(Session(bundle.path(), named("gpu-all", 2)), "gpu-t32", BackendError);
}

TEST_CASE("an unknown engine is answered with the groups too") {
  const Group bundle;
  CHECK_THROWS_WITH_AS(Session(bundle.path(), named("other")),
                       "it has: fake-cpu-fp32, gpu-t128, gpu-t32, gpu-t70; the group gpu-all; name one of these",
                       BundleError);
}

TEST_CASE("a manifest whose groups make no sense is refused, naming the field") {
  const auto refused = [](auto change, const std::string& message) {
    Group bundle;
    change(bundle.json["engines"][1]);  // gpu-t128
    CHECK_THROWS_WITH_AS(Manifest::load(bundle.write()), message, BundleError);
  };
  refused([](nlohmann::json& e) { e["group"] = "gpu-all"; }, "engines[1].group");
  refused([](nlohmann::json& e) { e["group"].erase("id"); }, "the field engines[1].group.id is missing");
  refused([](nlohmann::json& e) { e["group"]["members"] = {"gpu-t128"}; }, "expected ids of two or more engines");
  refused([](nlohmann::json& e) { e["group"]["members"] = {"gpu-t32", "gpu-t70"}; }, "'gpu-t128' among them");
  refused([](nlohmann::json& e) { e["group"]["members"] = {"gpu-t128", "gpu-t128"}; }, "each once");
  refused([](nlohmann::json& e) { e["group"]["id"] = "fake-cpu-fp32"; }, "expected an id that is no engine's");
  Group bundle;
  bundle.json["engines"][1]["group"] = nullptr;  // as an engine without a group is written
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK(manifest.engine("gpu-t128").group.id.empty());
}
