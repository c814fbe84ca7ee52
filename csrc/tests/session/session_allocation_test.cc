// A session that has warmed up runs what is submitted to it without an allocation: counted over the whole program.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/counting_allocator.h"
#include "support/held_session.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

/// Pictures of several sizes and formats, all in one piece of memory.
std::vector<OwnedImage> pictures() {
  const auto pixels = std::make_shared<std::vector<std::uint8_t>>(std::size_t{64} * 64 * 4);
  for (std::size_t i = 0; i < pixels->size(); ++i) (*pixels)[i] = static_cast<std::uint8_t>(i * 2654435761U >> 13);
  std::vector<OwnedImage> images;
  for (const Size size : {Size{16, 16}, Size{31, 20}, Size{8, 40}, Size{60, 24}, Size{12, 9}}) {
    for (const std::int32_t channels : {1, 3, 4}) {
      images.push_back({{pixels->data(), size.height_px, size.width_px, channels}, pixels});
    }
  }
  return images;
}

double resident_mib() {
  std::ifstream statm("/proc/self/statm");
  long all = 0;
  long resident = 0;
  statm >> all >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

TestBundle& bundle() {
  static TestBundle made;
  made.json["engines"][0]["id"] = "fake-cpu-fp32-by-a-longer-name";
  made.write();
  return made;
}

/// Submits to `session` and lets at most `most` images be under way.
class Submitter {
 public:
  explicit Submitter(Session& session) : session_(session) {}

  void submit(std::size_t images, std::size_t most) {
    most_ = most;
    for (std::size_t i = 0; i < images; ++i) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return under_way_ < most_; });
        ++under_way_;
      }
      SubmitOptions submit_options;
      submit_options.tag = i;
      submit_options.priority = static_cast<std::int32_t>(i % 3);
      if (i % 2 == 0) submit_options.deadline_us = 50'000;
      session_.submit(images_[i % images_.size()], submit_options, [this](Result&& result) {
        {
          const Result read = std::move(result);  // gone before the next image comes
          bad_ += read.error == nullptr && read.embedding.cols == 5 ? 0 : 1;
        }
        const std::lock_guard lock(mutex_);
        --under_way_;
        ++done_;
        changed_.notify_one();
      });
    }
    session_.drain();
  }

  [[nodiscard]] std::size_t under_way() {
    const std::lock_guard lock(mutex_);
    return under_way_;
  }
  [[nodiscard]] std::size_t done() const { return done_; }
  [[nodiscard]] int bad() const { return bad_; }

 private:
  Session& session_;
  std::size_t most_ = 0;
  std::vector<OwnedImage> images_ = pictures();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t under_way_ = 0;
  std::size_t done_ = 0;
  std::atomic<int> bad_{0};
};

}  // namespace

TEST_CASE("images that are submitted allocate nothing once the session has warmed up, results included") {
  for (const int slots : {1, 2}) {
    SessionOptions session_options = options(2);
    session_options.slots = slots;
    if (slots == 1) session_options.policy = Policy::latency(60e6);  // and what is learned of it
    Session session(bundle().path(), session_options);
    Submitter submitter(session);
    submitter.submit(2000, 200);  // busier than what follows
    std::int64_t counted = 0;
    {
      const counting::Tracing tracing;
      const std::int64_t before = counting::allocations();
      // As many images as there are outputs: were each a pack of its own, there would still be outputs for all.
      submitter.submit(5000, static_cast<std::size_t>(slots) + 2);
      counted = counting::allocations() - before;
    }
    CHECK(counted == 0);
    CHECK(submitter.done() == 7000);
    CHECK(submitter.bad() == 0);
  }
}

TEST_CASE("resident memory stays flat over many tiny images") {
  const char* text = std::getenv("NAVIT_EDGE_SOAK_IMAGES");  // a soak test runs a million
  const std::size_t images = text == nullptr ? 20'000 : static_cast<std::size_t>(std::strtoull(text, nullptr, 10));
  const Held held;
  SessionOptions session_options = options(2);
  session_options.slots = 1;
  Session session(held.path(), session_options);
  Submitter submitter(session);
  const Picture picture(1, 16, 16);
  std::future<Result> first = hold(session, picture);
  // The first pack is held until 400 images wait. So the session's list of them is never longer afterwards: 200 that
  // are under way, and as many whose callbacks ran a moment ago.
  std::thread warm_up([&] { submitter.submit(std::max<std::size_t>(8000, images / 20), 400); });
  const bool full = eventually([&] { return submitter.under_way() == 400; });
  release_stalls();
  warm_up.join();
  REQUIRE(full);
  (void)first.get();
  const double before = resident_mib();
  const std::int64_t live_before = counting::live_bytes();
  for (int part = 0; part < 4; ++part) {
    submitter.submit(images / 4, 200);
    std::printf("%zu images: %.2f MiB resident, %.2f at the start; %lld bytes allocated more than then\n",
                images / 4 * static_cast<std::size_t>(part + 1), resident_mib(), before,
                static_cast<long long>(counting::live_bytes() - live_before));
  }
  const double after = resident_mib();
  const std::int64_t grown = counting::live_bytes() - live_before;
  CHECK(submitter.bad() == 0);
  CHECK(grown < 64 * 1024);               // a few extra outputs, whose number varies
  if (!counting::counts_bytes()) return;  // a sanitizer's own memory grows
  // This process has 7 MiB, less than 2 % of which are a few packs: pages that a rare pack is the first to touch come
  // on top.
  CHECK(after < 1.02 * before + 0.5);
}

TEST_CASE("a run allocates for its list, its plan and its results, and for nothing that grows with their pixels") {
  SessionOptions session_options = options(1);
  session_options.slots = 1;
  Session session(bundle().path(), session_options);
  const std::vector<OwnedImage> owned = pictures();
  const auto allocations_of = [&](std::size_t images) {
    std::vector<ImageView> views;
    for (std::size_t i = 0; i < images; ++i) views.push_back(owned[i % owned.size()].view);
    std::int64_t least = 1'000'000;
    for (int round = 0; round < 10; ++round) {
      const std::int64_t before = counting::allocations();
      for (const Result& result : session.run(views)) CHECK(result.error == nullptr);
      least = std::min(least, counting::allocations() - before - static_cast<std::int64_t>(images));  // a CHECK's text
    }
    return least;
  };
  for (const std::size_t images : {1U, 4U, 16U, 60U}) {
    const std::int64_t counted = allocations_of(images);
    std::printf("a run of %zu images: %lld allocations\n", images, static_cast<long long>(counted));
    // Lists and plans, and outputs where more packs are kept than there are spare ones.
    CHECK(counted <= 30 + 10 * static_cast<std::int64_t>(images));
  }
}
