// What `submit` with a callback costs the caller: the engine is held, so that nothing else runs; then 1 and 8 threads
// fill the queue. The first round grows the queue's memory, the others do not.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

using Time = std::chrono::steady_clock;

double nanoseconds(Time::duration span) { return std::chrono::duration<double, std::nano>(span).count(); }

}  // namespace

TEST_CASE("submit path") {
  constexpr std::size_t kImages = 16000;
  const Picture picture(1, 1080, 1920);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_on_run", "0"}};
  SessionOptions session_options = options(1);
  session_options.queue_limit = kImages + 1;
  session_options.queue_bytes = 0;  // of pixels: no limit
  Session session(bundle.write(), session_options);
  (void)take_stats();
  session.submit({picture.view, nullptr}, {}, [](Result&&) {});
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  for (const std::size_t threads : {1U, 1U, 1U, 8U, 8U}) {
    std::vector<std::vector<double>> times(threads);
    std::vector<std::uint64_t> ids(kImages);
    std::vector<std::thread> callers;
    for (std::size_t t = 0; t < threads; ++t) {
      callers.emplace_back([&, t] {
        times[t].reserve(kImages / threads);
        for (std::size_t i = t; i < kImages; i += threads) {
          const auto start = Time::now();
          ids[i] = session.submit({picture.view, nullptr}, {}, [](Result&&) {});
          times[t].push_back(nanoseconds(Time::now() - start));
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    std::vector<double> all;
    for (const std::vector<double>& some : times) all.insert(all.end(), some.begin(), some.end());
    std::sort(all.begin(), all.end());
    std::printf("%zu threads, %zu images each round: p50 %.0f ns, p99 %.0f ns\n", threads, kImages, all[all.size() / 2],
                all[all.size() * 99 / 100]);
    for (const std::uint64_t id : ids) CHECK(session.cancel(id));
    CHECK(eventually([&] { return session.submit({ImageView{}, nullptr}).result.valid(); }));
  }
  release_stalls();
}
