// The session over a backend that computes integers, so that "the same" means the same bits.
#include "navit_edge/session.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

/// The bundle in the four kinds that the session treats differently.
std::vector<nlohmann::json> engine_kinds() {
  std::vector<nlohmann::json> kinds;
  for (const bool dynamic : {true, false}) {
    for (const char* strategy : {"similar-length", "first-fit-decreasing"}) {
      nlohmann::json engine = TestBundle::engine("fake-cpu-fp32", "fake", "cpu");
      engine["dynamic_tokens"] = dynamic;
      engine["strategy"] = strategy;
      engine["budgets"] = nlohmann::json::array({{{"tokens", 70}, {"images", 2}, {"target_tokens", 70}},
                                                 {{"tokens", 128}, {"images", 6}, {"target_tokens", 128}}});
      kinds.push_back(engine);
    }
  }
  return kinds;
}

}  // namespace

TEST_CASE("packed, alone and permuted give the same bits") {
  const std::vector<Picture> pictures = some_pictures(23);
  for (const std::int32_t prefix : {0, 2}) {
    for (const nlohmann::json& engine : engine_kinds()) {
      TestBundle bundle;
      bundle.json["engines"][0] = engine;
      bundle.json["model"]["prefix_tokens"] = prefix;
      Session session(bundle.write(), options());
      const std::vector<ImageView> views = views_of(pictures);
      const std::vector<Result> packed = session.run(views);
      REQUIRE(packed.size() == views.size());

      std::vector<std::size_t> order(views.size());
      std::iota(order.begin(), order.end(), 0U);
      std::shuffle(order.begin(), order.end(), std::mt19937(16));
      std::vector<ImageView> shuffled;
      for (const std::size_t i : order) shuffled.push_back(views[i]);
      const std::vector<Result> permuted = session.run(shuffled);
      for (std::size_t i = 0; i < order.size(); ++i) CHECK(same(permuted[i], packed[order[i]]));

      for (std::size_t i = 0; i < views.size(); ++i) {
        const std::vector<Result> alone = session.run(std::span(&views[i], 1));
        CHECK(same(alone[0], packed[i]));
        CHECK(packed[i].token_features.rows == packed[i].grid.tokens());
        CHECK(packed[i].tokens == packed[i].grid.tokens() + prefix);
        CHECK(packed[i].logits.cols == 3);
        CHECK(packed[i].image == views[i].size());
      }
    }
  }
}

TEST_CASE("other pixels in one image change its own results only") {
  std::vector<Picture> pictures = some_pictures(12);
  TestBundle bundle;
  Session session(bundle.write(), options());
  const auto before = session.run(views_of(pictures));
  for (auto& byte : pictures[5].pixels) byte ^= 0x55;
  const auto after = session.run(views_of(pictures));
  for (std::size_t i = 0; i < pictures.size(); ++i) CHECK(same(before[i], after[i]) == (i != 5));
}

TEST_CASE("images that cannot be run fail alone, each with its own error") {
  std::vector<Picture> pictures = some_pictures(6);
  TestBundle bundle;
  bundle.json["preprocess"]["sizing"] = {{"rule", "native"}};
  pictures.emplace_back(99, 80, 80);  // 20 x 20 patches
  std::vector<ImageView> views = views_of(pictures);
  Session session(bundle.write(), options());
  const auto good = session.run(std::span(views).first(6));
  views[1].data = nullptr;
  views[2].height_px = 0;
  views[3].channels = 5;
  views[4].row_stride_bytes = 1;
  const auto results = session.run(views);
  CHECK(same(results[0], good[0]));
  CHECK(same(results[5], good[5]));
  CHECK(contains(message_of(results[1].error), "image 1 has no pixels"));
  CHECK(contains(message_of(results[2].error), "image 2 has 0 x"));
  CHECK(contains(message_of(results[3].error), "image 3 has 5 channels"));
  CHECK(contains(message_of(results[4].error), "image 4 has rows 1 bytes apart"));
  CHECK(contains(message_of(results[6].error), "image 6 needs 400 tokens; the largest budget is 128"));
  CHECK_THROWS_AS(std::rethrow_exception(results[1].error), InvalidInput);
  CHECK_THROWS_AS(std::rethrow_exception(results[6].error), OverBudget);
  CHECK(results[6].pack == -1);
  CHECK(results[6].logits.empty());
}

TEST_CASE("a run in which no image can be run starts no engine and gives every error") {
  TestBundle bundle;
  Session session(bundle.write(), options());
  (void)take_stats();
  RunReport report;
  const std::vector<ImageView> views(3);
  const auto results = session.run(views, &report);
  for (const Result& result : results) CHECK(result.error != nullptr);
  CHECK(report.packs.empty());
  CHECK(take_stats().runs == 0);
  CHECK_THROWS_WITH_AS(session.run({}), "empty", InvalidInput);
}

TEST_CASE("one waiting pack has one slot with all cores, more have two slots, each in use once at a time") {
  const std::vector<Picture> pictures = some_pictures(30);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "2000"}};
  (void)take_stats();
  {
    Session session(bundle.write(), options(2));
    const std::vector<ImageView> views = views_of(pictures);
    (void)session.run(std::span(views).first(1));
    FakeStats stats = take_stats();
    CHECK(stats.opened == 1);
    CHECK(stats.slots_of_last_open == 1);
    CHECK(stats.threads_of_last_open == 2);
    CHECK(stats.most_in_flight == 1);
    RunReport report;
    (void)session.run(views, &report);
    (void)session.run(views);
    stats = take_stats();
    CHECK(stats.opened == 1);  // the second handle, once
    CHECK(stats.slots_of_last_open == 2);
    CHECK(stats.runs == 2 * static_cast<std::int32_t>(report.packs.size()));
    CHECK(stats.most_in_flight == 2);
    CHECK(stats.misuse == 0);
  }
  CHECK(take_stats().closed == 2);
}

TEST_CASE("a static engine and a single thread run one pack at a time") {
  const std::vector<Picture> pictures = some_pictures(20);
  for (const bool dynamic : {false, true}) {
    TestBundle bundle;
    bundle.json["engines"][0]["dynamic_tokens"] = dynamic;
    bundle.json["engines"][0]["options"] = {{"stall_us", "500"}};
    Session session(bundle.write(), options(dynamic ? 1 : 2));
    (void)take_stats();
    (void)session.run(views_of(pictures));
    const FakeStats stats = take_stats();
    CHECK(stats.runs > 1);
    CHECK(stats.most_in_flight == 1);
    CHECK(stats.opened == 0);
  }
}

TEST_CASE("the report says what ran") {
  const std::vector<Picture> pictures = some_pictures(20);
  for (const nlohmann::json& engine : engine_kinds()) {
    TestBundle bundle;
    bundle.json["engines"][0] = engine;
    Session session(bundle.write(), options());
    RunReport report;
    const auto results = session.run(views_of(pictures), &report);
    std::vector<std::int32_t> images(report.packs.size(), 0);
    std::vector<std::int32_t> tokens(report.packs.size(), 0);
    for (const Result& result : results) {
      REQUIRE(result.pack >= 0 && static_cast<std::size_t>(result.pack) < report.packs.size());
      ++images[static_cast<std::size_t>(result.pack)];
      tokens[static_cast<std::size_t>(result.pack)] += result.tokens;
      CHECK(result.latency_us > 0);
      CHECK(result.latency_us <= report.total_us);
      CHECK(result.queue_us == report.packs[static_cast<std::size_t>(result.pack)].start_us);
    }
    for (std::size_t i = 0; i < report.packs.size(); ++i) {
      const PackReport& pack = report.packs[i];
      CHECK(pack.images == images[i]);
      CHECK(pack.tokens == tokens[i]);
      CHECK((pack.budget_tokens == 70 || pack.budget_tokens == 128));
      const std::int32_t rounded = std::min((pack.tokens + 15) / 16 * 16, pack.budget_tokens);
      CHECK(pack.capacity == (engine["dynamic_tokens"].get<bool>() ? rounded : pack.budget_tokens));
      CHECK(pack.preprocess_us > 0);
      CHECK(pack.engine_us > 0);
    }
  }
}

TEST_CASE("a pack that fails fails its own images with its cause, and the others complete") {
  const std::vector<Picture> pictures = some_pictures(30);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle good;
  const std::vector<Result> expected = Session(good.write(), options()).run(views);
  for (const int failing : {0, 1, 3}) {
    for (const int threads : {1, 2}) {
      TestBundle bundle;
      bundle.json["engines"][0]["options"] = {{"fail_on_run", std::to_string(failing)}};
      Session session(bundle.write(), options(threads));
      (void)take_stats();
      RunReport report;
      const std::vector<Result> results = session.run(views, &report);
      std::set<std::string> messages;
      std::size_t failed = 0;
      for (std::size_t i = 0; i < results.size(); ++i) {
        if (results[i].error == nullptr) {
          CHECK(same(results[i], expected[i]));
          continue;
        }
        ++failed;
        messages.insert(message_of(results[i].error));
        CHECK(results[i].logits.empty());
        CHECK_THROWS_AS(std::rethrow_exception(results[i].error), BackendError);
      }
      REQUIRE(messages.size() >= 1);
      CHECK(messages.size() <= 2);  // on a CPU with two streams there are two engines, each with its own count
      const std::string all = std::to_string(report.packs.size());
      for (const std::string& message : messages) {
        CHECK(contains(message, "run " + std::to_string(failing) + " was told to fail"));
        CHECK(contains(message, "pack "));
        CHECK(contains(message, " of " + all + " ("));
      }
      CHECK(failed < results.size());
      const auto again = session.run(views);
      CHECK(std::all_of(again.begin(), again.end(), [](const Result& result) { return result.error == nullptr; }));
      CHECK(take_stats().misuse == 0);
    }
  }
}

TEST_CASE("a failure names the pack, its images and the engine") {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"fail_on_run", "0"}};
  Session session(bundle.write(), options());
  const std::vector<Picture> pictures = some_pictures(1);
  const std::vector<Result> results = session.run(views_of(pictures));
  CHECK(contains(message_of(results[0].error), "pack 0 of 1 (1 images, "));
  CHECK(contains(message_of(results[0].error), "engine fake-cpu-fp32: run 0 was told to fail"));
}

TEST_CASE("eight threads that share a session get the results of one") {
  const std::vector<Picture> pictures = some_pictures(16);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle bundle;
  Session session(bundle.write(), options());
  const auto expected = session.run(views);
  (void)take_stats();
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (unsigned c = 0; c < 8; ++c) {
    callers.emplace_back([&, c] {
      for (unsigned round = 0; round < 6; ++round) {
        const std::size_t begin = (c + round) % 10;
        const auto some = session.run(std::span(views).subspan(begin, 6));
        for (std::size_t i = 0; i < some.size(); ++i) wrong += same(some[i], expected[begin + i]) ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
  CHECK(take_stats().misuse == 0);
}

TEST_CASE("sessions side by side do not disturb each other") {
  const std::vector<Picture> pictures = some_pictures(10);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle bundle;
  bundle.write();
  Session reference(bundle.path(), options());
  const auto expected = reference.run(views);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      Session own(bundle.path(), options());
      for (int round = 0; round < 3; ++round) {
        const auto results = own.run(views);
        for (std::size_t i = 0; i < results.size(); ++i) wrong += same(results[i], expected[i]) ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("a session that was moved from says so in every function, and can be assigned to") {
  const std::vector<Picture> pictures = some_pictures(1);
  TestBundle bundle;
  Session first(bundle.write(), options());
  Session session(std::move(first));
  OwnedImage image;
  const std::vector<std::function<void()>> calls = {
      [&] { (void)first.run(views_of(pictures)); },
      [&] { (void)first.submit(OwnedImage()); },
      [&] { (void)first.submit(OwnedImage(), {}, [](Result&&) {}); },
      [&] { (void)first.try_submit(image, {}, [](Result&&) {}); },
      [&] { (void)first.cancel(1); },
      [&] { (void)first.drain(); },
      [&] { first.close(); },
      [&] { (void)first.broken(); },
      [&] { (void)first.manifest(); },
      [&] { (void)first.engine(); },
      [&] { (void)first.slots(); },
      [&] { (void)first.candidates(); },
      [&] { (void)first.device(); },
      [&] { (void)first.engine_report(); },
      [&] { (void)first.metrics(); },
      [&] { (void)first.metric_labels(); },
      [&] { first.count_refused(ErrorCode::kInvalidInput); },
      [&] { first.count_dropped(1); },
      [&] { first.start_trace(); },
      [&] { (void)first.stop_trace(); },
  };
  for (const auto& call : calls) CHECK_THROWS_WITH_AS(call(), "this Session was moved from", InvalidInput);
  CHECK(session.run(views_of(pictures)).at(0).error == nullptr);
  first = std::move(session);
  CHECK(first.run(views_of(pictures)).at(0).error == nullptr);
}

TEST_CASE("results outlive the session and the run after them") {
  const std::vector<Picture> pictures = some_pictures(3);
  TestBundle bundle;
  std::vector<Result> kept;
  std::vector<float> copy;
  {
    Session session(bundle.write(), options());
    kept = session.run(views_of(pictures));
    copy = values(kept[1].token_features);
    (void)session.run(views_of(some_pictures(9)));
  }
  CHECK(values(kept[1].token_features) == copy);
}
