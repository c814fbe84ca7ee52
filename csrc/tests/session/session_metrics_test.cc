// What a session counts and traces, against what its callers saw.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/metrics.h"
#include "navit_edge/stream.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;
using Json = nlohmann::json;

namespace {

std::uint64_t failed(const Metrics& metrics, ErrorCode code) { return metrics.failed[static_cast<std::size_t>(code)]; }

bool settled(const Metrics& now) {
  return now.submitted == now.completed + now.failures() + now.cancelled && now.waiting == 0 && now.in_flight == 0;
}

}  // namespace

TEST_CASE("a run's metrics are its report's") {
  const std::vector<Picture> pictures = some_pictures(30);
  std::vector<ImageView> views = views_of(pictures);
  views[7] = ImageView{};
  TestBundle bundle;
  Session session(bundle.write(), options());
  RunReport report;
  const std::vector<Result> results = session.run(views, &report);
  const Metrics now = session.metrics();
  CHECK(settled(now));
  CHECK(now.submitted == 30);
  CHECK(now.completed == 29);
  CHECK(failed(now, ErrorCode::kInvalidInput) == 1);
  CHECK(now.packs == report.packs.size());
  CHECK(now.slots == session.slots());
  CHECK(now.queue.count() == 29);
  CHECK(now.latency.count() == 29);
  CHECK(now.latency.max <= report.total_us * 1e-6);
  std::uint64_t tokens = 0;
  std::uint64_t capacity = 0;
  double engine_s = 0;
  double preprocess_s = 0;
  double unpack_s = 0;
  for (const PackReport& pack : report.packs) {
    tokens += static_cast<std::uint64_t>(pack.tokens);
    capacity += static_cast<std::uint64_t>(pack.capacity);
    engine_s += pack.engine_us * 1e-6;
    preprocess_s += pack.preprocess_us * 1e-6;
    unpack_s += pack.unpack_us * 1e-6;
  }
  CHECK(now.tokens_used == tokens);
  CHECK(now.tokens_used + now.tokens_padding == capacity);
  CHECK(now.image_tokens.sum == static_cast<double>(tokens));
  CHECK(now.pack_images.sum == 29);
  const double rounding_s = 1e-8 * static_cast<double>(report.packs.size());
  CHECK(std::abs(now.engine.sum - engine_s) < rounding_s);
  CHECK(std::abs(now.preprocess.sum - preprocess_s) < rounding_s);
  CHECK(std::abs(now.unpack.sum - unpack_s) < rounding_s);
  const Labels labels = session.metric_labels();
  REQUIRE(labels.size() == 2);
  CHECK(labels[0].second == bundle.path().filename().string());
  CHECK(labels[1].second == "fake-cpu-fp32");
}

TEST_CASE("every submitted image is counted once, with cancels, bad images, runs and closing among them") {
  const std::vector<Picture> pictures = some_pictures(40);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "500"}};
  Session session(bundle.write(), options());
  std::atomic<std::uint64_t> submitted{0}, completed{0}, cancelled{0}, invalid{0}, threw{0};
  const auto done = [&](Result&& result) {
    if (result.error == nullptr) {
      ++completed;
      if (result.tag == 3) {
        ++threw;
        throw std::runtime_error("a callback's own trouble");
      }
      return;
    }
    try {
      std::rethrow_exception(result.error);
    } catch (const Cancelled&) {
      ++cancelled;
    } catch (const InvalidInput&) {
      ++invalid;
    }
  };
  std::vector<std::thread> callers;
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([&, c] {
      for (std::size_t i = 0; i < pictures.size(); ++i) {
        SubmitOptions submit;
        submit.tag = i;
        submit.deadline_us = i % 2 == 0 ? 0 : 60e6;
        const ImageView view = i % 10 == 9 ? ImageView{} : pictures[i].view;
        const std::uint64_t id = session.submit({view, nullptr}, submit, done);
        ++submitted;
        if (i % 7 == 0) (void)session.cancel(id);
      }
      if (c == 0) {
        submitted += 40;
        for (const Result& result : session.run(views_of(pictures))) completed += result.error == nullptr ? 1 : 0;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  session.close();
  const Metrics now = session.metrics();
  CHECK(settled(now));
  CHECK(now.submitted == submitted);
  CHECK(now.completed == completed);
  CHECK(now.cancelled == cancelled);
  CHECK(failed(now, ErrorCode::kInvalidInput) == invalid);
  CHECK(now.callback_errors == threw);
  CHECK(now.deadlines_met + now.deadlines_missed > 0);
  CHECK(now.deadlines_met + now.deadlines_missed < now.completed);
  CHECK(now.slack.count() == now.deadlines_met);
}

TEST_CASE("packs that fail are counted with their images, and a broken session says so") {
  const std::vector<Picture> pictures = some_pictures(30);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"tokens", "1"}};  // no pack has so few
  Session session(bundle.write(), options());
  session.start_trace();
  RunReport report;
  const std::vector<Result> results = session.run(views_of(pictures), &report);
  for (const Result& result : results) CHECK(result.error != nullptr);
  const Metrics now = session.metrics();
  CHECK(settled(now));
  CHECK(now.completed == 0);
  CHECK(failed(now, ErrorCode::kBackend) == 30);
  CHECK(now.packs == 0);
  CHECK(now.packs_failed >= 3);
  CHECK(now.broken);
  const Json trace = Json::parse(session.stop_trace());
  std::map<std::string, int> instants;
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] == "i") ++instants[event["name"].get<std::string>()];
  }
  CHECK(instants["pack failed"] == static_cast<int>(now.packs_failed));
  CHECK(instants["error"] == 30);
  CHECK(instants["session broken"] == 1);
}

TEST_CASE("a trace shows the packs of two slots side by side, never two on one") {
  const std::vector<Picture> pictures = some_pictures(30);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "2000"}};
  Session session(bundle.write(), options());
  session.start_trace();
  RunReport report;
  (void)session.run(views_of(pictures), &report);
  std::vector<Submitted> submitted;
  for (const Picture& picture : pictures) submitted.push_back(session.submit({picture.view, nullptr}));
  for (Submitted& one : submitted) (void)one.result.get();
  const Json trace = Json::parse(session.stop_trace());
  const Metrics now = session.metrics();
  struct Span {
    double begin, end;
  };
  std::map<int, std::vector<Span>> slots;
  std::map<std::string, int> queues;
  std::set<std::uint64_t> packs;
  int engines = 0;
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] == "X") {
      slots[event["tid"]].push_back({event["ts"], event["ts"].get<double>() + event["dur"].get<double>()});
      packs.insert(event["args"]["pack"].get<std::uint64_t>());
      engines += event["name"] == "engine" ? 1 : 0;
    }
    if (event["ph"] == "b") ++queues[event["id"].get<std::string>()];
    if (event["ph"] == "e") --queues[event["id"].get<std::string>()];
  }
  CHECK(packs.size() == now.packs);
  CHECK(static_cast<std::uint64_t>(engines) == now.packs);
  CHECK(now.packs > report.packs.size());
  CHECK(queues.size() == 60);
  for (const auto& [id, open] : queues) CHECK(open == 0);
  CHECK(slots.size() == static_cast<std::size_t>(session.slots()));
  for (auto& [slot, spans] : slots) {
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < spans.size(); ++i) CHECK(spans[i].begin >= spans[i - 1].end - 2e-3);
  }
}

TEST_CASE("what a stream drops, and what could not be decoded, is counted and traced") {
  const std::vector<Picture> pictures = some_pictures(8);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "20000"}};
  Session session(bundle.write(), options());
  session.start_trace();
  for (const DropPolicy drop : {DropPolicy::kDropNewest, DropPolicy::kDropOldest}) {
    const Metrics before = session.metrics();
    StreamOptions stream_options;
    stream_options.capacity = 2;
    stream_options.drop = drop;
    Stream stream(session, stream_options);
    CHECK(stream.push_failed(std::make_exception_ptr(InvalidInput("no picture")), 100) == Pushed::kTaken);
    for (std::size_t i = 0; i < pictures.size(); ++i) (void)stream.push({pictures[i].view, nullptr}, i);
    stream.finish();
    while (stream.pop().has_value()) {
    }
    session.drain();
    const Metrics now = session.metrics();
    CHECK(settled(now));
    CHECK(stream.dropped() > 0);
    CHECK(now.dropped - before.dropped == stream.dropped());
    CHECK(failed(now, ErrorCode::kInvalidInput) - failed(before, ErrorCode::kInvalidInput) == 1);
  }
  std::uint64_t traced = 0;
  const Json trace = Json::parse(session.stop_trace());
  for (const Json& event : trace["traceEvents"]) {
    traced += event["ph"] == "i" && event["name"] == "dropped" ? 1U : 0U;
  }
  CHECK(traced == session.metrics().dropped);
}
