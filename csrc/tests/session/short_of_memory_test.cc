// Memory and threads run out at every place where the session's own threads ask for some. Every image gets one result,
// the process lives, and what comes later is right or is refused with the cause.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <future>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

thread_local bool spared = false;       // the test's own thread, which is given what it asks for
std::atomic<std::int64_t> until{-1};    // allocations until one fails; below 0: none does
std::atomic<std::int64_t> failures{0};  // that are to come from there on
std::atomic<std::int64_t> refused{0};
std::atomic<std::int64_t> threads_until{-1};

bool refuses() noexcept {
  if (spared || until.load(std::memory_order_relaxed) < 0) return false;
  if (until.fetch_sub(1) > 0) return false;
  until = 0;
  if (failures.fetch_sub(1) <= 0) {
    until = -1;
    return false;
  }
  ++refused;
  return true;
}

void fail_after(std::int64_t allocations, std::int64_t times) {
  failures = times;
  until = allocations;
}

void* take_or_null(std::size_t bytes) noexcept { return refuses() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes); }

void* take(std::size_t bytes) {
  void* const block = take_or_null(bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

// Not inlined: the compiler would see malloc in one and free in the other.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return take(bytes); }
[[gnu::noinline]] void* operator new[](std::size_t bytes) { return take(bytes); }
// std::stable_partition takes memory by this one; a sanitizer's own does not call the one above.
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return take_or_null(bytes);
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete[](void* block, std::size_t) noexcept { std::free(block); }

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* with) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  if (threads_until.load() >= 0 && threads_until.fetch_sub(1) <= 0) {
    threads_until = 0;
    return EAGAIN;
  }
  return real(thread, attributes, body, with);
}

namespace {

struct Asked {
  std::vector<std::future<Result>> results;
  std::vector<Result> run;
};

/// Images of a run and submitted ones at once, while memory is short in all threads but this one.
Asked ask(Session& session, const std::vector<Picture>& pictures) {
  Asked asked;
  for (const Picture& picture : pictures) asked.results.push_back(session.submit({picture.view, nullptr}).result);
  try {
    asked.run = session.run(views_of(pictures));
  } catch (const Error&) {  // it is broken by then
  }
  return asked;
}

}  // namespace

TEST_CASE("wherever memory runs out in a session's threads, every image gets its result or its error") {
  spared = true;
  const std::vector<Picture> pictures = some_pictures(6);
  TestBundle good;
  const std::vector<Result> expected = Session(good.write(), options(1)).run(views_of(pictures));
  using Options = std::map<std::string, std::string>;
  for (const Options& engine : {Options{}, Options{{"fail_every", "2"}}, Options{{"nan_every", "2"}}}) {
    TestBundle bundle;
    bundle.json["engines"][0]["options"] = engine;
    bundle.json["engines"][0]["budgets"][0]["images"] = 2;
    bundle.write();
    for (const std::int64_t times : {1, 4}) {
      for (int after = 0; after < 60; ++after) {
        // One thread: a second stream opens engines in a lane, and libstdc++'s files free twice where memory runs out.
        Session session(bundle.path(), options(1));
        fail_after(after, times);
        Asked asked = ask(session, pictures);
        session.drain();
        fail_after(-1, 0);
        for (std::size_t i = 0; i < pictures.size(); ++i) {
          REQUIRE(asked.results[i].wait_for(std::chrono::seconds(60)) == std::future_status::ready);
          try {
            CHECK(same(asked.results[i].get(), expected[i]));
          } catch (const BackendError&) {
          } catch (const std::bad_alloc&) {
          }
        }
        for (std::size_t i = 0; i < asked.run.size(); ++i) {
          CHECK((asked.run[i].error != nullptr || same(asked.run[i], expected[i])));
        }
        if (!engine.empty()) continue;
        if (session.broken().empty()) {
          CHECK(same(session.run(views_of(pictures))[0], expected[0]));
        } else {
          CHECK(contains(session.broken(), "three packs in a row failed"));
        }
      }
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("a session whose threads cannot all be started says so, and another opens when they can") {
  TestBundle bundle;
  bundle.write();
  const std::vector<Picture> pictures = some_pictures(2);
  for (int started = 0; started < 3; ++started) {
    threads_until = started;
    CHECK_THROWS_WITH_AS(Session(bundle.path(), options(1)), "cannot start its", BackendError);
    threads_until = -1;
    Session session(bundle.path(), options(1));
    CHECK(session.run(views_of(pictures))[0].error == nullptr);
  }
}

TEST_CASE("where no thread is to be had for resizing, the caller's does it") {
  TestBundle bundle;
  bundle.write();
  const std::vector<Picture> pictures = some_pictures(4);
  const std::vector<Result> expected = Session(bundle.path(), options(1)).run(views_of(pictures));
  Session session(bundle.path(), options(8));
  threads_until = 0;
  const std::vector<Result> results = session.run(views_of(pictures));
  threads_until = -1;
  for (std::size_t i = 0; i < results.size(); ++i) CHECK(same(results[i], expected[i]));
}
