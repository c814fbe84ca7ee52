// What the recorder costs an image: not a test, since a busy machine would fail it. Built with the target
// recorder_bench; docs/metrics.md has its figures.
#include <algorithm>
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
    for (int image = 0; image < kPackImages; ++image) recorder.completed(1, begin, begin + 3 * shift, 5e3, false);
  }
}

/// Nanoseconds an image, of a thread; the best of nine rounds.
double measure(int threads, bool tracing) {
  double best = 1e9;
  for (int round = 0; round < 9; ++round) {
    Recorder recorder(threads);
    if (tracing) recorder.start_trace({});
    const Clock::time_point start = Clock::now();
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) all.emplace_back([&recorder, i] { one_thread(recorder, i); });
    for (std::thread& thread : all) thread.join();
    const double ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    best = std::min(best, ns / (kPacks * kPackImages));
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
