// What callbacks may do, whose thread calls them, and the progress of a run.
#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/held_session.h"
#include "support/session_fixture.h"

using namespace navit_edge;

TEST_CASE("callbacks may submit into a full queue, cancel, run, throw and close") {
  const std::vector<Picture> pictures = some_pictures(3);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle bundle;
  bundle.write();
  Session session(bundle.path(), one_lane(1));
  const std::vector<Result> expected = session.run(views);
  std::atomic<int> called{0};
  std::atomic<int> wrong{0};
  std::atomic<bool> drain_refused{false};
  const Done leaf = [&](Result&& result) {
    ++called;
    wrong += same(result, expected[result.tag]) ? 0 : 1;
    throw std::runtime_error("swallowed");
  };
  session.submit(borrowed(pictures[0]), {}, [&](Result&&) {
    ++called;
    for (std::uint64_t i = 0; i < 3; ++i) {
      SubmitOptions submit_options;
      submit_options.tag = i;
      session.submit(borrowed(pictures[i]), submit_options, leaf);
    }
    const std::vector<Result> run = session.run(views);
    for (std::size_t i = 0; i < views.size(); ++i) wrong += same(run[i], expected[i]) ? 0 : 1;
    (void)session.cancel(99);
    try {
      session.drain();
    } catch (const InvalidInput&) {
      drain_refused = true;
    }
  });
  CHECK(eventually([&] { return called == 4; }));
  CHECK(wrong == 0);
  CHECK(drain_refused);
  std::promise<void> closed;
  session.submit(borrowed(pictures[0]), {}, [&](Result&&) {
    session.close();
    session.close();
    closed.set_value();
  });
  closed.get_future().get();
  CHECK_THROWS_AS(session.submit(borrowed(pictures[0])), Cancelled);
}

TEST_CASE("a session may go in its own callback") {
  const std::vector<Picture> pictures = some_pictures(1);
  TestBundle bundle;
  (void)take_stats();
  auto session = std::make_unique<Session>(bundle.write(), options());
  std::promise<void> gone;
  Session& borrowed_session = *session;
  borrowed_session.submit(borrowed(pictures[0]), {}, [&gone, &session](Result&&) {
    session.reset();
    gone.set_value();
  });
  gone.get_future().get();
  CHECK(eventually([] {
    const FakeStats stats = take_stats("libnavit_edge_fake.so", false);
    return stats.opened == stats.closed;
  }));
}

TEST_CASE("progress counts up to the end on the caller's thread, bad images among the done") {
  std::vector<Picture> pictures = some_pictures(30);
  std::vector<ImageView> views = views_of(pictures);
  views[3].data = nullptr;
  TestBundle bundle;
  Session session(bundle.write(), options());
  std::vector<std::size_t> seen;
  bool here = true;
  RunOptions run_options;
  const auto caller = std::this_thread::get_id();
  run_options.progress = [&](std::size_t done, std::size_t total) {
    seen.push_back(done);
    here = here && total == 30 && std::this_thread::get_id() == caller;
  };
  (void)session.run(views, nullptr, run_options);
  CHECK(here);
  REQUIRE(!seen.empty());
  CHECK(seen.back() == 30);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
}

TEST_CASE("progress that throws ends the run with what it threw, and the session runs on") {
  const std::vector<Picture> pictures = some_pictures(30);
  TestBundle bundle;
  Session session(bundle.write(), options());
  RunOptions run_options;
  run_options.progress = [](std::size_t done, std::size_t) {
    if (done > 0) throw std::runtime_error("stop it");
  };
  (void)take_stats();
  CHECK_THROWS_WITH_AS(session.run(views_of(pictures), nullptr, run_options), "stop it", std::runtime_error);
  const FakeStats stats = take_stats();
  CHECK(stats.runs == stats.ended);
  CHECK(session.run(views_of(pictures))[29].error == nullptr);
}
