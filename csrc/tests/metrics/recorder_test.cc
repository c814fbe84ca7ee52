// The recorder under many threads: nothing is lost and nothing counted twice.
#include "metrics/recorder.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#include "support/check.h"

using namespace navit_edge;
using namespace std::chrono_literals;

namespace {

constexpr Clock::time_point kEpoch{};
constexpr Clock::time_point kNever = Clock::time_point::max();

/// `count` threads on `body(thread)`.
template <class Body>
void on_threads(int count, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

PackRecord pack_of(std::uint64_t number, int slot, std::int32_t images, std::int32_t tokens) {
  PackRecord pack;
  pack.number = number;
  pack.slot = slot;
  pack.images = images;
  pack.tokens = tokens;
  pack.capacity = 64;
  pack.start = kEpoch + 1s;
  pack.written = pack.start + 1ms;
  pack.ran = pack.written + 2ms;
  pack.done = pack.ran + 1ms;
  return pack;
}

}  // namespace

TEST_CASE("totals are exact under many threads, with a reader and a trace among them") {
  constexpr int kThreads = 8;
  constexpr int kPacks = 400;
  constexpr int kImages = 5;  // of a pack: three complete, one of them late, one fails; one is cancelled before
  Recorder recorder;
  std::atomic<bool> done{false};
  std::thread reader([&] {
    std::uint64_t before = 0;
    int traces = 0;
    while (!done || traces == 0) {
      const Metrics now = recorder.metrics();
      CHECK(now.completed >= before);
      CHECK(now.waiting >= 0);
      before = now.completed;
      recorder.start_trace({.max_events = 100});
      std::this_thread::sleep_for(1ms);
      CHECK(recorder.stop_trace({}, 1).size() > 2);
      ++traces;
    }
  });
  on_threads(kThreads, [&](int thread) {
    for (int i = 0; i < kPacks; ++i) {
      recorder.submitted(kImages);
      recorder.cancelled(1, kEpoch, kEpoch + 1ms);
      const std::uint64_t pack = recorder.pack_begun(kImages - 1);
      for (int image = 0; image < kImages - 1; ++image) {
        recorder.started(2, kEpoch, kEpoch + 3ms, 16 * (1 + image), pack);
      }
      if (i % 4 == 0) {
        recorder.pack_failed(pack_of(pack, thread, kImages - 1, 48), ErrorCode::kBackend);
      } else {
        recorder.pack_done(pack_of(pack, thread, kImages - 1, 48));
      }
      recorder.completed(2, kEpoch, kEpoch + 10ms, kNever, false);
      recorder.target(true);
      recorder.target(false);
      recorder.target(false);
      recorder.completed(3, kEpoch, kEpoch + 20ms, kEpoch + 30ms, true);
      recorder.completed(4, kEpoch, kEpoch + 40ms, kEpoch + 30ms, false);
      recorder.failed(5, ErrorCode::kBackend, kEpoch, kEpoch + 20ms, false);
    }
  });
  done = true;
  reader.join();

  constexpr std::uint64_t kAll = kThreads * kPacks;
  const Metrics now = recorder.metrics();
  CHECK(now.submitted == kAll * kImages);
  CHECK(now.completed == kAll * 3);
  CHECK(now.failures() == kAll);
  CHECK(now.failed[static_cast<std::size_t>(ErrorCode::kBackend)] == kAll);
  CHECK(now.cancelled == kAll);
  CHECK(now.submitted == now.completed + now.failures() + now.cancelled);
  CHECK(now.scaled_down == kAll);
  CHECK(now.targets_met == kAll);
  CHECK(now.targets_missed == 2 * kAll);
  CHECK(now.deadlines_met == kAll);
  CHECK(now.deadlines_missed == kAll);
  CHECK(now.packs == kAll * 3 / 4);
  CHECK(now.packs_failed == kAll / 4);
  CHECK(now.tokens_used == now.packs * 48);
  CHECK(now.tokens_padding == now.packs * 16);
  CHECK(now.waiting == 0);
  CHECK(now.in_flight == 0);
  CHECK(!now.broken);

  CHECK(now.queue.count() == kAll * 4);
  CHECK(now.queue.min == 3e-3);
  CHECK(now.queue.max == 3e-3);
  CHECK(std::abs(now.queue.mean() - 3e-3) < 1e-9);
  CHECK(now.latency.count() == kAll * 3);
  CHECK(now.latency.min == 10e-3);
  CHECK(now.latency.max == 40e-3);
  CHECK(std::abs(now.latency.sum - static_cast<double>(kAll) * 70e-3) < 1e-6);
  CHECK(now.slack.count() == kAll);
  CHECK(std::abs(now.slack.mean() - 10e-3) < 1e-9);
  CHECK(now.overrun.count() == kAll);
  CHECK(std::abs(now.overrun.mean() - 10e-3) < 1e-9);
  CHECK(now.preprocess.count() == now.packs);
  CHECK(std::abs(now.engine.mean() - 2e-3) < 1e-9);
  CHECK(std::abs(now.pack.mean() - 4e-3) < 1e-9);
  CHECK(std::abs(now.preprocess.sum + now.engine.sum + now.unpack.sum - now.pack.sum) < 1e-6);
  CHECK(now.fill.min == 0.75);
  CHECK(now.fill.max == 0.75);
  CHECK(now.pack_images.sum == static_cast<double>(now.packs * 4));
  CHECK(now.image_tokens.sum == static_cast<double>(kAll * (16 + 32 + 48 + 64)));
  CHECK(now.image_tokens.counts[Buckets::tokens().index(16)] == kAll);
}

TEST_CASE("images that never reach a pack leave the queue, each in its own way") {
  Recorder recorder;
  recorder.submitted(2);
  CHECK(recorder.metrics().waiting == 2);
  recorder.dropped(1);
  recorder.cancelled(2, kEpoch, kEpoch + 1ms);
  recorder.failed(3, ErrorCode::kOverBudget, kEpoch, kEpoch, true);
  recorder.broke();
  const Metrics now = recorder.metrics();
  CHECK(now.waiting == 0);
  CHECK(now.dropped == 1);
  CHECK(now.cancelled == 1);
  CHECK(now.failed[static_cast<std::size_t>(ErrorCode::kOverBudget)] == 1);
  CHECK(now.broken);
  CHECK(now.queue.count() == 0);  // no pack ended their waiting
}

TEST_CASE("a clock that seems to run backwards between two cores counts as no time") {
  Recorder recorder;
  recorder.started(1, kEpoch + 2us, kEpoch + 1us, 7, recorder.pack_begun(1));
  const Metrics now = recorder.metrics();
  CHECK(now.queue.count() == 1);
  CHECK(now.queue.sum == 0);
  CHECK(now.queue.quantile(0.5) == 0);
}
