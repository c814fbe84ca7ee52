// Throughput when saturated, and images on time at part of it, on an engine that sleeps as long as its cost model says.
// Arrivals are Poisson and do not wait for results; latency counts from when an image should have been submitted.
//
// usage: load_benchmark; NAVIT_EDGE_LOAD: share of capacity, 0.7; NAVIT_EDGE_LOAD_IMAGES: 1000
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

using Time = std::chrono::steady_clock;

double seconds(Time::duration span) { return std::chrono::duration<double>(span).count(); }

double number_of(const char* variable, double otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atof(text);
}

struct Kind {
  const char* name;
  int fixed_us;
  int us_per_token;
};

void measure(const Kind& kind) {
  const auto count = static_cast<std::size_t>(number_of("NAVIT_EDGE_LOAD_IMAGES", 1000));
  const double load = number_of("NAVIT_EDGE_LOAD", 0.7);
  TestBundle bundle;
  nlohmann::json& engine = bundle.json["engines"][0];
  engine["budgets"] = nlohmann::json::array({{{"tokens", 512}, {"images", 16}, {"target_tokens", 512}}});
  engine["cost"] = TestBundle::cost(nlohmann::json::array(
      {{{"fixed_us", kind.fixed_us}, {"us_per_token", kind.us_per_token}, {"us_per_score", 1e-6}}}));
  engine["options"] = {{"stall_us", std::to_string(kind.fixed_us)},
                       {"us_per_token", std::to_string(kind.us_per_token)}};
  SessionOptions session_options = options(1);
  session_options.queue_limit = count;
  Session session(bundle.write(), session_options);

  std::vector<Picture> pictures;
  for (unsigned i = 0; i < 32; ++i) pictures.emplace_back(i, 20 + static_cast<std::int32_t>(i % 4) * 4, 24);
  std::vector<ImageView> views;
  for (std::size_t i = 0; i < count; ++i) views.push_back(pictures[i % pictures.size()].view);

  std::vector<double> alone;
  for (int i = 0; i < 30; ++i) {
    const auto start = Time::now();
    (void)session.submit({views[static_cast<std::size_t>(i)], nullptr}).result.get();
    alone.push_back(seconds(Time::now() - start));
  }
  std::sort(alone.begin(), alone.end());
  const double single = alone[alone.size() / 2];

  auto start = Time::now();
  (void)session.run(views);
  const double run_rate = static_cast<double>(count) / seconds(Time::now() - start);
  start = Time::now();
  for (const ImageView& view : views) session.submit({view, nullptr}, {}, [](Result&&) {});
  session.drain();
  const double submit_rate = static_cast<double>(count) / seconds(Time::now() - start);

  std::mutex mutex;
  std::vector<double> latencies;
  std::mt19937 random(7);
  std::exponential_distribution<double> gap(load * run_rate);
  SubmitOptions submit_options;
  auto arrival = Time::now();
  for (const ImageView& view : views) {
    arrival += std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(gap(random)));
    std::this_thread::sleep_until(arrival);
    submit_options.deadline_us = std::max(1.0, 1e6 * (3 * single - seconds(Time::now() - arrival)));
    session.submit({view, nullptr}, submit_options, [&, arrival](Result&&) {
      const double latency = seconds(Time::now() - arrival);
      const std::lock_guard lock(mutex);
      latencies.push_back(latency);
    });
  }
  session.drain();
  std::sort(latencies.begin(), latencies.end());
  const auto on_time = std::upper_bound(latencies.begin(), latencies.end(), 3 * single) - latencies.begin();
  std::printf(
      "%s: one image %.2f ms; run %.0f images/s, submit %.0f (%.0f %%); at %.0f %% load p50 %.2f p99 %.2f ms, "
      "%.1f %% within %.2f ms\n",
      kind.name, 1e3 * single, run_rate, submit_rate, 100 * submit_rate / run_rate, 100 * load,
      1e3 * latencies[count / 2], 1e3 * latencies[count * 99 / 100],
      100.0 * static_cast<double>(on_time) / static_cast<double>(count), 3e3 * single);
  CHECK(latencies.size() == count);
}

}  // namespace

TEST_CASE("engines that gain threefold, twofold and little by packing") {
  measure({"fixed 6 ms, 0.1 ms a token", 6000, 100});
  measure({"fixed 4 ms, 0.1 ms a token", 4000, 100});
  measure({"fixed 0.5 ms, 0.1 ms a token", 500, 100});
}
