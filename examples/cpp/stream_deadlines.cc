// A camera with a deadline: images arrive at a fixed rate, whatever the session does, and each wants its result in
// time.
//   stream_deadlines NAME.navit FPS DEADLINE_MS FRAMES IMAGE.ppm...
#include <navit_edge/navit_edge.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

#include "ppm.h"

namespace {

using Clock = std::chrono::steady_clock;

/// What became of the frames. Callbacks come one after the other, so only `main` and they must not meet: it reads this
/// after `drain`.
struct Tally {
  std::vector<double> latency_ms;
  int met = 0, missed = 0, failed = 0, dropped = 0;

  [[nodiscard]] double at(double share) {
    if (latency_ms.empty()) return 0;
    std::sort(latency_ms.begin(), latency_ms.end());
    return latency_ms[static_cast<std::size_t>(share * static_cast<double>(latency_ms.size() - 1))];
  }
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 6) {
    return std::fprintf(stderr, "usage: stream_deadlines NAME.navit FPS DEADLINE_MS FRAMES IMAGE.ppm...\n"), 2;
  }
  const double fps = std::atof(argv[2]);
  const double deadline_ms = std::atof(argv[3]);
  const int frames = std::atoi(argv[4]);
  if (!(fps > 0) || !(deadline_ms > 0) || frames < 1) {
    throw navit_edge::InvalidInput("FPS, DEADLINE_MS and FRAMES must be above 0");
  }
  std::vector<PpmImage> pixels;
  for (int i = 5; i < argc; ++i) pixels.push_back(read_ppm(argv[i]));
  Tally tally;  // before the session: callbacks use it until the session is gone
  navit_edge::SessionOptions options;
  options.queue_limit = 64;  // a live source: what waits longer is of no use
  navit_edge::Session session(argv[1], options);
  std::printf("engine %s on %s\n", session.engine().id.c_str(), session.device().c_str());

  navit_edge::SubmitOptions submit;
  submit.deadline_us = deadline_ms * 1000;
  const auto start = Clock::now();
  for (int i = 0; i < frames; ++i) {
    // By the clock and not by the results: a late session does not slow the camera down.
    const auto due = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(i / fps));
    std::this_thread::sleep_until(due);
    const PpmImage& image = pixels[static_cast<std::size_t>(i) % pixels.size()];
    // These pixels outlive the session's use of them, so nobody needs to own them: see opencv_frames.cc for others.
    navit_edge::OwnedImage frame{image.view(), nullptr};
    submit.tag = static_cast<std::uint64_t>(i);
    const auto taken = session.try_submit(frame, submit, [&tally, due, deadline_ms](navit_edge::Result&& result) {
      if (result.error) {
        ++tally.failed;
        return;
      }
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - due).count();
      tally.latency_ms.push_back(ms);
      ++(ms <= deadline_ms ? tally.met : tally.missed);
    });
    if (!taken) ++tally.dropped;  // only `main` counts these
  }
  session.drain();

  std::printf("%d frames: %d met, %d missed, %d dropped, %d failed\n", frames, tally.met, tally.missed, tally.dropped,
              tally.failed);
  std::printf("latency ms: p50 %.1f, p99 %.1f, most %.1f\n", tally.at(0.5), tally.at(0.99), tally.at(1));
  return tally.failed == 0 ? 0 : 1;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
