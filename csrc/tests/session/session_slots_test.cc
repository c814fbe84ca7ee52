// Packs in flight: engines of fixed tokens on an accelerator, and what `slots` makes of the others.
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

constexpr const char* kLibrary = "libnavit_edge_fake_gpu.so";

using Options = std::map<std::string, std::string>;

/// A bundle with one engine of fixed tokens for an accelerator.
struct Accelerator : TestBundle {
  explicit Accelerator(const Options& engine_options = {}) {
    nlohmann::json engine = TestBundle::engine("fake-gpu", "fake-gpu", "sm89");
    engine["dynamic_tokens"] = false;
    engine["strategy"] = "first-fit-decreasing";
    engine["budgets"] = nlohmann::json::array({{{"tokens", 70}, {"images", 2}, {"target_tokens", 70}},
                                               {{"tokens", 128}, {"images", 6}, {"target_tokens", 128}}});
    engine["options"] = engine_options;
    json["engines"][0] = engine;
    write();
  }
};

SessionOptions with_slots(int slots, int threads = 2) {
  SessionOptions session_options = options(threads);
  session_options.slots = slots;
  return session_options;
}

double end_us(const PackReport& pack) { return pack.start_us + pack.preprocess_us + pack.engine_us; }

}  // namespace

TEST_CASE("the next pack is preprocessed, and runs, while the one before runs") {
  const std::vector<Picture> pictures = some_pictures(30);
  // No run ends before two have begun: with one pack at a time none would begin while the first waits.
  const Accelerator bundle(Options{{"wait_for_runs", "2"}});
  (void)take_stats(kLibrary);
  {
    Session session(bundle.path(), options());
    CHECK(session.slots() == 2);
    RunReport report;
    (void)session.run(views_of(pictures), &report);
    REQUIRE(report.packs.size() >= 3);
    CHECK(report.packs[1].start_us < end_us(report.packs[0]));
    CHECK(report.most_in_flight == 2);
    std::set<std::int32_t> slots;
    for (const PackReport& pack : report.packs) {
      slots.insert(pack.slot);
      CHECK(pack.engine == "fake-gpu");
    }
    CHECK(slots == std::set<std::int32_t>{0, 1});
  }
  const FakeStats stats = take_stats(kLibrary);
  CHECK(stats.opened == 1);  // its memory is on the device once
  CHECK(stats.closed == 1);
  CHECK(stats.slots_of_last_open == 2);
  CHECK(stats.most_in_flight == 2);
  CHECK(stats.gave_up == 0);
  CHECK(stats.misuse == 0);
}

TEST_CASE("packs are written where the engine reads them, and give the same bits") {
  const std::vector<Picture> pictures = some_pictures(30);
  Session own(Accelerator().path(), options());
  const std::vector<Result> expected = own.run(views_of(pictures));
  (void)take_stats(kLibrary);
  const Accelerator lending(Options{{"lend_bytes", "100000"}});
  Session session(lending.path(), options());
  for (int turn = 0; turn < 2; ++turn) {
    const std::vector<Result> results = session.run(views_of(pictures));
    for (std::size_t i = 0; i < results.size(); ++i) CHECK(same(results[i], expected[i]));
  }
  const FakeStats stats = take_stats(kLibrary);
  CHECK(stats.lent_inputs == stats.runs * 6);
}

TEST_CASE("packs are preprocessed one after the other, and the first starts before the second is ready") {
  const std::vector<Picture> pictures = some_pictures(30);
  const Accelerator bundle(Options{{"stall_us", "3000"}});
  Session session(bundle.path(), with_slots(3));
  RunReport report;
  (void)session.run(views_of(pictures), &report);
  REQUIRE(report.packs.size() >= 4);
  for (std::size_t i = 1; i < report.packs.size(); ++i) {
    CHECK(report.packs[i].start_us >= report.packs[i - 1].start_us + report.packs[i - 1].preprocess_us);
  }
}

TEST_CASE("with one slot a pack starts when the one before has ended") {
  const std::vector<Picture> pictures = some_pictures(20);
  const Accelerator bundle(Options{{"stall_us", "1000"}});
  Session session(bundle.path(), with_slots(1));
  CHECK(session.slots() == 1);
  (void)take_stats(kLibrary);
  RunReport report;
  (void)session.run(views_of(pictures), &report);
  REQUIRE(report.packs.size() >= 3);
  for (std::size_t i = 1; i < report.packs.size(); ++i) {
    CHECK(report.packs[i].start_us >= end_us(report.packs[i - 1]));
    CHECK(report.packs[i].slot == 0);
  }
  CHECK(report.most_in_flight == 1);
  CHECK(take_stats(kLibrary).most_in_flight == 1);
}

TEST_CASE("one pack takes one slot, and no more are in flight than there are packs") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Accelerator bundle;
  Session session(bundle.path(), with_slots(4));
  RunReport report;
  (void)session.run(views_of(pictures), &report);
  REQUIRE(report.packs.size() == 1);
  CHECK(report.packs[0].slot == 0);
  CHECK(report.most_in_flight == 1);
}

TEST_CASE("the number of slots changes no bit") {
  const std::vector<Picture> pictures = some_pictures(40);
  const std::vector<ImageView> views = views_of(pictures);
  const Accelerator bundle(Options{{"stall_us", "300"}});
  const std::vector<Result> expected = Session(bundle.path(), with_slots(1)).run(views);
  for (const int slots : {0, 2, 3, 5}) {
    for (const int threads : {1, 3}) {
      Session session(bundle.path(), with_slots(slots, threads));
      for (int round = 0; round < 3; ++round) {
        const std::vector<Result> found = session.run(views);
        for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(found[i], expected[i]));
      }
    }
  }
}

TEST_CASE("slots that do not open are an error where they were asked for, and one slot with the reason by default") {
  const std::vector<Picture> pictures = some_pictures(12);
  const Accelerator bundle(Options{{"most_slots", "1"}});
  (void)take_stats(kLibrary);
  CHECK_THROWS_WITH_AS(Session(bundle.path(), with_slots(2)),
                       "engine fake-gpu did not open: out of beads at slot 2 of 2", BackendError);
  CHECK(take_stats(kLibrary).opened == 0);
  Session session(bundle.path(), options());
  CHECK(session.slots() == 1);
  CHECK(contains(session.candidates().back().detail, "an abacus; one pack at a time, since 2 slots did not open: "));
  CHECK(contains(session.candidates().back().detail, "out of beads at slot 2 of 2"));
  RunReport report;
  (void)session.run(views_of(pictures), &report);
  CHECK(report.most_in_flight == 1);

  const Accelerator none(Options{{"most_slots", "0"}});
  CHECK_THROWS_WITH_AS(Session(none.path(), options()), "out of beads at slot 1 of 1", BackendError);
}

TEST_CASE("a number of slots that makes no sense is refused with the range") {
  const Accelerator bundle;
  CHECK_THROWS_WITH_AS(Session(bundle.path(), with_slots(-1)),
                       "slots is -1; expected a number of packs, 1 to 64, or 0 for as many as pay", InvalidInput);
  CHECK_THROWS_WITH_AS(Session(bundle.path(), with_slots(65)), "slots is 65", InvalidInput);
}

TEST_CASE("packs that fail while others are in flight fail alone") {
  const std::vector<Picture> pictures = some_pictures(40);
  const std::vector<ImageView> views = views_of(pictures);
  const std::vector<Result> expected = Session(Accelerator().path(), options()).run(views);
  for (const int slots : {2, 3}) {
    // The first run fails while another is in flight; that one goes on for a while, and then fails too.
    const Accelerator bundle(
        Options{{"fail_early_on_run", "0"}, {"fail_on_run", "1"}, {"wait_for_ends", "1"}, {"stall_us", "20000"}});
    Session session(bundle.path(), with_slots(slots));
    (void)take_stats(kLibrary);
    RunReport report;
    const std::vector<Result> results = session.run(views, &report);
    std::set<std::string> messages;
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (results[i].error == nullptr) {
        CHECK(same(results[i], expected[i]));
      } else {
        messages.insert(message_of(results[i].error));
      }
    }
    CHECK(messages.size() == 2);
    for (const std::string& message : messages) CHECK(contains(message, "was told to fail"));
    const FakeStats stats = take_stats(kLibrary, false);
    CHECK(stats.gave_up == 0);
    CHECK(stats.runs == static_cast<std::int32_t>(report.packs.size()));
    CHECK(stats.ended == stats.runs);
    CHECK(session.broken().empty());
    CHECK(take_stats(kLibrary).misuse == 0);
  }
}

TEST_CASE("threads that share a session of several slots get the results of one") {
  const std::vector<Picture> pictures = some_pictures(24);
  const std::vector<ImageView> views = views_of(pictures);
  const Accelerator bundle;
  Session session(bundle.path(), with_slots(3));
  const std::vector<Result> expected = session.run(views);
  (void)take_stats(kLibrary);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        const std::vector<Result> found = session.run(views);
        for (std::size_t i = 0; i < found.size(); ++i) wrong += same(found[i], expected[i]) ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
  CHECK(take_stats(kLibrary).misuse == 0);
}

TEST_CASE("on a CPU the slots that are asked for are opened at once and kept, one or several") {
  const std::vector<Picture> pictures = some_pictures(30);
  for (const int slots : {1, 3}) {
    TestBundle bundle;
    bundle.json["engines"][0]["options"] = {{"stall_us", "2000"}};
    (void)take_stats();
    Session session(bundle.write(), with_slots(slots));
    CHECK(session.slots() == slots);
    RunReport report;
    (void)session.run(views_of(pictures), &report);
    const FakeStats stats = take_stats();
    CHECK(stats.opened == 1);
    CHECK(stats.slots_of_last_open == slots);
    CHECK(stats.most_in_flight == slots);
    CHECK(report.most_in_flight == slots);
  }
}
