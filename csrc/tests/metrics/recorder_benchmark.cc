// What the recorder costs an image: not a test, since a busy machine would fail it. Built with the target
// recorder_benchmark; docs/metrics.md has its figures.
#include <time.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "metrics/recorder.h"

using namespace navit_edge;

namespace {

constexpr int kPackImages = 8;
constexpr int kPacks = 20000;

/// All calls of one image's way, and an eighth of its pack's. Timestamps are the caller's, as in a session, which needs
/// them itself.
void one_thread(Recorder& recorder, int slot) {
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kPacks; ++i) {
    for (int image = 0; image < kPackImages; ++image) recorder.submitted();
    const auto shift = std::chrono::microseconds(i % 5000);
    const std::uint64_t pack = recorder.pack_begun(kPackImages);
    for (int image = 0; image < kPackImages; ++image) {
      recorder.started(1, begin, begin + shift, 100 + image * 17, pack);
    }
    PackRecord done{pack, slot, kPackImages, 700, 768, begin, begin + shift, begin + 2 * shift, begin + 2 * shift};
    recorder.pack_done(done);
    for (int image = 0; image < kPackImages; ++image)
      recorder.completed(1, begin, begin + 3 * shift, begin + std::chrono::milliseconds(5), false);
  }
}

/// Of the calling thread on a core, so that what else the machine does counts little.
double cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// Nanoseconds an image; the best thread of nine rounds.
double measure(int threads, bool tracing) {
  std::atomic<double> best{1e9};
  for (int round = 0; round < 9; ++round) {
    Recorder recorder;
    if (tracing) recorder.start_trace({});
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) {
      all.emplace_back([&, i] {
        const double before = cpu_ns();
        one_thread(recorder, i);
        const double ns = (cpu_ns() - before) / (kPacks * kPackImages);
        double least = best.load();
        while (ns < least && !best.compare_exchange_weak(least, ns)) {
        }
      });
    }
    for (std::thread& thread : all) thread.join();
  }
  return best;
}

}  // namespace

int main() {
  for (const bool tracing : {false, true}) {
    for (const int threads : {1, 2}) {
      std::printf("%d thread(s), trace %s: %.0f ns per image\n", threads, tracing ? "on" : "off",
                  measure(threads, tracing));
    }
  }
}
