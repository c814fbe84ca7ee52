// Engines that fail, give nonsense or never come back, and sessions that are carried into a forked child.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/held_session.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

std::string error_of(std::future<Result>& future) {
  try {
    (void)future.get();
  } catch (const BackendError& e) {
    return e.what();
  }
  return "";
}

SessionOptions impatient(int threads = 1) {
  SessionOptions session_options = options(threads);
  session_options.stall_timeout_s = 0.2;
  return session_options;
}

}  // namespace

TEST_CASE("a failing pack fails its own images, and three in a row break the session with the first cause") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Faulty bundle({{"fail_from", "1"}}, 1);
  Session session(bundle.path(), options(1));
  std::vector<std::future<Result>> results;
  for (int i = 0; i < 3; ++i) {
    results.push_back(session.submit(borrowed(pictures[0])).result);
    session.drain();
  }
  CHECK(results[0].get().error == nullptr);
  CHECK(contains(error_of(results[1]), "pack 1 (1 images, "));
  CHECK(session.broken().empty());
  std::future<Result> third = session.submit(borrowed(pictures[0])).result;
  CHECK(contains(error_of(third), "run 3 was told to fail"));
  CHECK(eventually([&] { return !session.broken().empty(); }));
  CHECK(contains(session.broken(), "run 1 was told to fail"));
  CHECK_THROWS_WITH_AS(session.submit(borrowed(pictures[0])), "run 1 was told to fail", BackendError);
  CHECK_THROWS_WITH_AS(session.submit(borrowed(pictures[0])), "open the session again", BackendError);
  CHECK_THROWS_WITH_AS(session.run(views_of(pictures)), "the session is broken", BackendError);
  session.drain();
  session.close();
}

TEST_CASE("what waits when a session breaks fails with the cause, in a run and in the queue") {
  const std::vector<Picture> pictures = some_pictures(40);
  const Faulty bundle({{"fail_from", "0"}, {"stall_us", "5000"}}, 2);
  Session session(bundle.path(), options(1));
  std::vector<std::future<Result>> results;
  for (const Picture& picture : pictures) results.push_back(session.submit(borrowed(picture)).result);
  int broken = 0;
  for (std::future<Result>& result : results) {
    const std::string error = error_of(result);
    CHECK(!error.empty());
    broken += contains(error, "the session is broken: three packs in a row failed, the first with: pack 0") ? 1 : 0;
  }
  CHECK(broken >= 40 - 3 * 2);

  Session other(bundle.path(), options(1));
  broken = 0;
  for (const Result& result : other.run(views_of(pictures))) {
    broken += contains(message_of(result.error), "three packs in a row") ? 1 : 0;
  }
  CHECK(broken >= 40 - 3 * 2);
}

TEST_CASE("a success between failures keeps the session whole") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Faulty every_other({{"fail_every", "2"}}, 1);
  Session whole(every_other.path(), options(1));
  int failed = 0;
  for (int i = 0; i < 12; ++i) {
    std::future<Result> result = whole.submit(borrowed(pictures[0])).result;
    failed += error_of(result).empty() ? 0 : 1;
  }
  CHECK(failed == 6);
  CHECK(whole.broken().empty());
}

TEST_CASE("NaN in the outputs of one image fails that image and no other of its pack") {
  const std::vector<Picture> pictures = some_pictures(3);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle good;
  const std::vector<Result> expected = Session(good.write(), options(1)).run(views);
  for (const char* output : {"logits", "embedding"}) {
    const Faulty bundle({{"nan_on_run", "0"}, {"nan_image", "0"}, {"nan_output", output}});
    Session session(bundle.path(), options(1));
    const std::vector<Result> results = session.run(views);
    int failed = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (results[i].error == nullptr) {
        CHECK(same(results[i], expected[i]));
        continue;
      }
      ++failed;
      CHECK(contains(message_of(results[i].error), std::string("gave NaN or infinity in the ") + output));
      CHECK(results[i].logits.empty());
      CHECK_THROWS_AS(std::rethrow_exception(results[i].error), BackendError);
    }
    CHECK(failed == 1);
  }
}

TEST_CASE("packs that are NaN throughout break the session as failures do") {
  const std::vector<Picture> pictures = some_pictures(1);
  for (const char* output : {"logits", "tokens"}) {
    const Faulty bundle({{"nan_every", "1"}, {"nan_output", output}}, 1);
    Session session(bundle.path(), options(1));
    for (int i = 0; i < 3; ++i) {
      std::future<Result> result = session.submit(borrowed(pictures[0])).result;
      CHECK(contains(error_of(result), "gave NaN"));
    }
    CHECK(eventually([&] { return contains(session.broken(), "gave NaN"); }));
  }
}

TEST_CASE("an engine that finds another shape than its own fails the pack with both") {
  const std::vector<Picture> pictures = some_pictures(2);
  const Faulty bundle(FakeOptions{{"wrong_shape_on_run", "0"}});
  Session session(bundle.path(), options(1));
  const std::vector<Result> results = session.run(views_of(pictures));
  CHECK(contains(message_of(results[0].error), "has the shape [7, 7]; expected ["));
  CHECK(session.run(views_of(pictures))[0].error == nullptr);
}

TEST_CASE("an engine that never comes back is left behind: every image gets its error, and close returns") {
  const std::vector<Picture> pictures = some_pictures(5);
  for (const int threads : {1, 2}) {
    const Faulty bundle({{"stall_on_run", "0"}}, 1);
    (void)take_stats();
    {
      Session session(bundle.path(), impatient(threads));
      std::vector<std::future<Result>> results;
      for (const Picture& picture : pictures) results.push_back(session.submit(borrowed(picture)).result);
      int stalled = 0;
      for (std::future<Result>& result : results) {
        const std::string error = error_of(result);
        CHECK((!error.empty() || threads > 1));  // the other stream goes on meanwhile
        stalled += contains(error, "stalled: engine fake-cpu-fp32 has not come back for 0.2") ? 1 : 0;
      }
      CHECK(stalled >= 1);
      CHECK(contains(session.broken(), "stalled"));
      CHECK_THROWS_WITH_AS(session.submit(borrowed(pictures[0])), "stalled", BackendError);
      session.drain();
      session.close();
    }
    CHECK(take_stats("libnavit_edge_fake.so", false).closed == 0);  // the thread inside still has it
    release_stalls();
    CHECK(eventually([] {
      const FakeStats stats = take_stats("libnavit_edge_fake.so", false);
      return stats.opened == stats.closed;
    }));
  }
}

TEST_CASE("a pack that waits for its turn on an engine that never comes back gets its error, and the run returns") {
  const std::vector<Picture> pictures = some_pictures(12);
  // Two packs are begun while the second set is opened; it fails, one of them runs, and the other waits for it.
  const Faulty bundle({{"most_slots", "1"}, {"refuse_slots_after_us", "50000"}, {"stall_on_run", "0"}}, 2);
  Session session(bundle.path(), impatient(2));
  const std::vector<Result> results = session.run(views_of(pictures));
  for (const Result& result : results) CHECK(contains(message_of(result.error), "stalled: engine"));
  CHECK(contains(session.broken(), "stalled"));
  session.close();
  release_stalls();
}

TEST_CASE("a run whose engine never comes back returns, and so does a close that began before") {
  const std::vector<Picture> pictures = some_pictures(12);
  const Faulty bundle({{"stall_on_run", "1"}}, 2);
  SessionOptions session_options = options(1);
  session_options.stall_timeout_s = 5;  // the first pack must not seem to stall on a busy machine
  Session session(bundle.path(), session_options);
  (void)take_stats();
  std::vector<Result> results;
  std::thread runner([&] { results = session.run(views_of(pictures)); });
  CHECK(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 2; }));
  session.close();
  runner.join();
  int good = 0;
  int stalled = 0;
  for (const Result& result : results) {
    good += result.error == nullptr ? 1 : 0;
    stalled += contains(message_of(result.error), "stalled: engine") ? 1 : 0;
  }
  CHECK(good >= 1);
  CHECK(stalled >= 1);
  release_stalls();
}

TEST_CASE("in a forked child every call says so, nothing hangs, and the parent goes on") {
  const std::vector<Picture> pictures = some_pictures(8);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle bundle;
  auto session = std::make_unique<Session>(bundle.write(), options(2));
  const std::vector<Result> expected = session->run(views);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
#if !defined(__SANITIZE_ADDRESS__)  // its allocator does not let go of its locks at a fork
    while (!stop) (void)session->run(views);
#endif
  });
  const auto refuses = [](auto call) {
    try {
      call();
    } catch (const BackendError& e) {
      return contains(e.what(), "open it after the fork, or use the spawn start method");
    }
    return false;
  };
  int ended_well = 0;
  for (int round = 0; round < 5; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // what hangs ends by this
      int wrong = 0;
      OwnedImage image = borrowed(pictures[0]);
      wrong += refuses([&] { (void)session->run(views); }) ? 0 : 1;
      wrong += refuses([&] { (void)session->submit(image); }) ? 0 : 1;
      wrong += refuses([&] { (void)session->try_submit(image, {}, [](Result&&) {}); }) ? 0 : 1;
      wrong += refuses([&] { (void)session->cancel(1); }) ? 0 : 1;
      wrong += refuses([&] { session->drain(); }) ? 0 : 1;
      wrong += refuses([&] { (void)session->broken(); }) ? 0 : 1;
      session->close();
      session.reset();
      ::_exit(wrong);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ended_well += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
  }
  stop = true;
  busy.join();
  CHECK(ended_well == 5);
  CHECK(same(session->run(views)[0], expected[0]));
}
