// Images submitted one by one: the numbers, the order, and what becomes of each.
#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/held_session.h"
#include "support/session_fixture.h"

using namespace navit_edge;

TEST_CASE("submitted images give the bits of a run, from eight threads beside runs") {
  const std::vector<Picture> pictures = some_pictures(40);
  const std::vector<ImageView> views = views_of(pictures);
  for (const int threads : {1, 2}) {
    TestBundle bundle;
    Session session(bundle.write(), options(threads));
    const std::vector<Result> expected = session.run(views);
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (std::size_t c = 0; c < 8; ++c) {
      callers.emplace_back([&, c] {
        std::vector<Submitted> submitted;
        SubmitOptions submit_options;
        for (std::size_t i = 0; i < views.size(); ++i) {
          submit_options.tag = (i + 5 * c) % views.size();
          submitted.push_back(session.submit({views[submit_options.tag], nullptr}, submit_options));
        }
        if (c % 2 == 0) {
          const std::vector<Result> run = session.run(views);
          for (std::size_t i = 0; i < views.size(); ++i) wrong += same(run[i], expected[i]) ? 0 : 1;
        }
        for (Submitted& one : submitted) {
          const Result result = one.result.get();
          wrong += same(result, expected[result.tag]) && result.id == one.id && result.queue_us >= 0 ? 0 : 1;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
    CHECK(take_stats().misuse == 0);
  }
}

TEST_CASE("what waits leaves by priority, then by deadline, then in the order it came") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Held bundle(1);
  Session session(bundle.path(), one_lane());
  std::future<Result> first = hold(session, pictures[0]);
  Collector collector;
  const std::vector<std::pair<std::int32_t, double>> asked = {{0, 0}, {0, 9e9}, {1, 0}, {-1, 1e9}, {0, 5e9}, {1, 0}};
  for (std::size_t i = 0; i < asked.size(); ++i) {
    SubmitOptions submit_options;
    submit_options.priority = asked[i].first;
    submit_options.deadline_us = asked[i].second;
    submit_options.tag = i;
    session.submit(borrowed(pictures[0]), submit_options, collector.done());
  }
  release_stalls();
  session.drain();
  std::vector<std::uint64_t> order;
  for (const Result& result : collector.take()) order.push_back(result.tag);
  CHECK(order == std::vector<std::uint64_t>{2, 5, 4, 1, 0, 3});
}

TEST_CASE("images of eight threads that wait together share packs") {
  const Picture picture(1, 16, 16);  // 16 tokens
  const Held bundle;
  Session session(bundle.path(), one_lane());
  std::future<Result> first = hold(session, picture);
  Collector collector;
  std::vector<std::thread> callers;
  for (int c = 0; c < 8; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 3; ++i) session.submit(borrowed(picture), {}, collector.done());
    });
  }
  for (std::thread& caller : callers) caller.join();
  release_stalls();
  session.drain();
  std::map<std::int32_t, int> packs;
  for (const Result& result : collector.take()) ++packs[result.pack];
  CHECK(packs.size() == 4);
  for (const auto& [pack, images] : packs) CHECK(images == 6);
}

TEST_CASE("an image that waits can be cancelled, once; one in a pack or done cannot") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Held bundle;
  Session session(bundle.path(), one_lane());
  (void)take_stats();
  Submitted running = session.submit(borrowed(pictures[0]));
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  Submitted waiting = session.submit(borrowed(pictures[0]));
  CHECK(!session.cancel(running.id));
  CHECK(session.cancel(waiting.id));
  CHECK(!session.cancel(waiting.id));
  CHECK(!session.cancel(12345));
  CHECK_THROWS_WITH_AS(waiting.result.get(), "image " + std::to_string(waiting.id) + " was cancelled", Cancelled);
  release_stalls();
  CHECK(running.result.get().logits.cols == 3);
  CHECK(!session.cancel(running.id));
  CHECK(take_stats().runs == 1);
}

TEST_CASE("a bad image fails alone, by its future") {
  const std::vector<Picture> pictures = some_pictures(2);
  TestBundle bundle;
  bundle.json["preprocess"]["sizing"] = {{"rule", "native"}};
  const Picture large(3, 64, 64);
  Session session(bundle.write(), options());
  Submitted bad = session.submit({ImageView{}, nullptr});
  Submitted over = session.submit(borrowed(large));
  Submitted good = session.submit(borrowed(pictures[0]));
  CHECK_THROWS_WITH_AS(bad.result.get(), "has 0 x 0 pixels", InvalidInput);
  CHECK_THROWS_WITH_AS(over.result.get(), "needs 256 tokens; the largest budget is 128", OverBudget);
  CHECK(good.result.get().logits.cols == 3);
  CHECK(session.broken().empty());
}

TEST_CASE("options that make no sense are refused by the call") {
  const std::vector<Picture> pictures = some_pictures(1);
  TestBundle bundle;
  bundle.write();
  Session session(bundle.path(), options());
  SubmitOptions late;
  late.deadline_us = -1;
  CHECK_THROWS_WITH_AS(session.submit(borrowed(pictures[0]), late), "deadline_us is -1", InvalidInput);
  CHECK_THROWS_WITH_AS(session.submit(borrowed(pictures[0]), {}, nullptr), "empty callback", InvalidInput);
  CHECK_THROWS_WITH_AS(Session(bundle.path(), one_lane(0)), "queue_limit is 0", InvalidInput);
  SessionOptions negative = options();
  negative.stall_timeout_s = -2;
  CHECK_THROWS_WITH_AS(Session(bundle.path(), negative), "stall_timeout_s is -2", InvalidInput);
}

TEST_CASE("close cancels what waits at once, completes what runs, and refuses what comes after it") {
  const std::vector<Picture> pictures = some_pictures(5);
  const Held bundle;
  Session session(bundle.path(), one_lane());
  std::future<Result> running = hold(session, pictures[0]);
  std::vector<Submitted> waiting;
  for (const Picture& picture : pictures) waiting.push_back(session.submit(borrowed(picture)));
  std::thread closer([&] { session.close(); });
  for (Submitted& one : waiting) {
    CHECK_THROWS_WITH_AS(one.result.get(), "the session was closed before this image was run", Cancelled);
  }
  CHECK(running.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout);
  release_stalls();
  closer.join();
  REQUIRE(running.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  CHECK(running.get().logits.cols == 3);
  CHECK_THROWS_WITH_AS(session.submit(borrowed(pictures[0])), "the session is closed; open another", Cancelled);
  CHECK_THROWS_AS(session.run(views_of(pictures)), Cancelled);
  CHECK(!session.cancel(waiting[0].id));
  session.drain();
  session.close();
  const FakeStats stats = take_stats();
  CHECK(stats.closed == 1);  // the device's memory is free again
  CHECK(contains(session.engine_report(), "abacus"));
}

TEST_CASE("the packs of a run that have not begun are cancelled by close") {
  const std::vector<Picture> pictures = some_pictures(30);
  const Held bundle;
  Session session(bundle.path(), one_lane());
  (void)take_stats();
  std::vector<Result> results;
  std::thread runner([&] { results = session.run(views_of(pictures)); });
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  std::thread closer([&] { session.close(); });
  CHECK(eventually([&] {  // the session is closed, as far as a caller sees
    try {
      return !session.cancel(session.submit(borrowed(pictures[0])).id);
    } catch (const Cancelled&) {
      return true;
    }
  }));
  release_stalls();
  runner.join();
  closer.join();
  const auto good = std::count_if(results.begin(), results.end(), [](const Result& r) { return r.error == nullptr; });
  CHECK(good >= 1);
  CHECK(good < 30);
  for (const Result& result : results) {
    if (result.error != nullptr) CHECK_THROWS_AS(std::rethrow_exception(result.error), Cancelled);
  }
}

TEST_CASE("drain waits for what was submitted before it, callbacks included, and for nothing else") {
  const std::vector<Picture> pictures = some_pictures(4);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_on_run", "1"}};
  bundle.json["engines"][0]["budgets"][0]["images"] = 1;
  bundle.write();
  Session session(bundle.path(), one_lane());
  std::atomic<int> called{0};
  const Done slowly = [&](Result&&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++called;
  };
  session.submit(borrowed(pictures[0]), {}, slowly);
  session.drain();
  CHECK(called == 1);
  session.submit(borrowed(pictures[1]), {}, slowly);  // stalls
  std::atomic<bool> drained{false};
  std::thread drainer([&] {
    session.drain();
    drained = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!drained);
  release_stalls();
  drainer.join();
  CHECK(called >= 2);
}

TEST_CASE("a full queue turns try_submit away, and submit waits until there is room or the session closes") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Held bundle;
  Session session(bundle.path(), one_lane(2));
  std::future<Result> running = hold(session, pictures[0]);
  std::vector<Submitted> waiting;
  for (int i = 0; i < 2; ++i) waiting.push_back(session.submit(borrowed(pictures[0])));
  OwnedImage extra{pictures[0].view, std::make_shared<int>(7)};
  Collector collector;
  CHECK(!session.try_submit(extra, {}, collector.done()).has_value());
  CHECK(extra.owner != nullptr);

  std::atomic<int> entered{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      try {
        session.submit(borrowed(pictures[0]), {}, collector.done());
        ++entered;
      } catch (const Cancelled&) {
        ++refused;
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(entered == 0);
  CHECK(session.cancel(waiting[1].id));  // makes room for one
  CHECK(eventually([&] { return entered == 1; }));
  std::thread closer([&] { session.close(); });
  CHECK(eventually([&] { return refused == 1; }));
  release_stalls();
  closer.join();
  for (std::thread& caller : callers) caller.join();
  CHECK(entered == 1);
  CHECK(collector.size() == 1);
}

TEST_CASE("pixels are let go once they have been read, or once their image is cancelled") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Held bundle;
  Session session(bundle.path(), one_lane());
  (void)take_stats();
  auto owner = std::make_shared<int>(1);
  const std::weak_ptr<int> read = owner;
  Submitted running = session.submit({pictures[0].view, std::move(owner)});
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  CHECK(eventually([&] { return read.expired(); }));  // while the engine still has the pack
  CHECK(running.result.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
  owner = std::make_shared<int>(2);
  const std::weak_ptr<int> cancelled = owner;
  Submitted waiting = session.submit({pictures[0].view, std::move(owner)});
  CHECK(!cancelled.expired());
  CHECK(session.cancel(waiting.id));
  CHECK(eventually([&] { return cancelled.expired(); }));
  release_stalls();
  CHECK(running.result.get().logits.cols == 3);
}

TEST_CASE("with a batch wait an idle engine waits for a full pack, and never past a deadline") {
  const Picture picture(1, 16, 16);
  TestBundle bundle;
  SessionOptions patient = one_lane();
  patient.batch_wait_us = 3.6e9;
  Session session(bundle.write(), patient);
  std::vector<std::future<Result>> six;
  for (int i = 0; i < 6; ++i) six.push_back(session.submit(borrowed(picture)).result);
  for (std::future<Result>& one : six) CHECK(one.get().pack == 0);
  SubmitOptions soon;
  soon.deadline_us = 50e3;
  std::future<Result> without = session.submit(borrowed(picture)).result;
  CHECK(without.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout);
  CHECK(session.submit(borrowed(picture), soon).result.get().pack == 1);
}
