// Images submitted one by one: the numbers, and what becomes of each.
#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "navit_edge/error.h"
#include "session_fixture.h"

using namespace navit_edge;

TEST_CASE("submitted images give the bits of a run, from eight threads beside runs") {
  const std::vector<Picture> pictures = some_pictures(40);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle bundle;
  Session session(bundle.write(), options());
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
        wrong += same(result, expected[result.tag]) && result.id == one.id ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

TEST_CASE("a bad image fails alone, by its future") {
  const std::vector<Picture> pictures = some_pictures(2);
  TestBundle bundle;
  Session session(bundle.write(), options());
  Submitted bad = session.submit({ImageView{}, nullptr});
  Submitted good = session.submit({pictures[0].view, nullptr});
  CHECK_THROWS_WITH_AS(bad.result.get(), "has 0 x 0 pixels", InvalidInput);
  CHECK(good.result.get().logits.cols == 3);
}

TEST_CASE("close cancels what waits, completes what runs, and refuses what comes after it") {
  const std::vector<Picture> pictures = some_pictures(30);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "20000"}};
  Session session(bundle.write(), options());
  std::vector<Submitted> submitted;
  for (const Picture& picture : pictures) submitted.push_back(session.submit({picture.view, nullptr}));
  session.close();
  int done = 0;
  int cancelled = 0;
  for (Submitted& one : submitted) {
    REQUIRE(one.result.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
    try {
      done += one.result.get().logits.cols == 3 ? 1 : 0;
    } catch (const Cancelled&) {
      ++cancelled;
    }
  }
  CHECK(done + cancelled == 30);
  CHECK_THROWS_WITH_AS(session.submit({pictures[0].view, nullptr}), "the session is closed; open another", Cancelled);
  CHECK_THROWS_AS(session.run(views_of(pictures)), Cancelled);
  session.close();
}

TEST_CASE("drain returns when every callback has been called") {
  const std::vector<Picture> pictures = some_pictures(30);
  TestBundle bundle;
  Session session(bundle.write(), options());
  std::atomic<int> called{0};
  for (const Picture& picture : pictures) {
    session.submit({picture.view, nullptr}, {}, [&](Result&& result) { called += result.error == nullptr ? 1 : 0; });
  }
  session.drain();
  CHECK(called == 30);
}
