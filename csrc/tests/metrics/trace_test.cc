// Traces: what is recorded, what a full ring says, and that the JSON is one.
#include "metrics/trace.h"

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "metrics/recorder.h"
#include "support/check.h"

using namespace navit_edge;
using namespace std::chrono_literals;
using Json = nlohmann::json;

namespace {

std::vector<Json> events_of(const Json& trace, const std::string& phase, const std::string& name) {
  std::vector<Json> found;
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] == phase && event["name"] == name) found.push_back(event);
  }
  return found;
}

PackRecord pack_at(Clock::time_point start, std::uint64_t number, int slot) {
  return {number, slot, 2, 40, 64, start, start + 100us, start + 400us, start + 450us};
}

}  // namespace

TEST_CASE("a trace holds each pack's three stages on its slot, and how long each image waited for it") {
  Recorder recorder;
  recorder.start_trace({});
  const Clock::time_point begin = Clock::now();
  recorder.submitted(2);
  const std::uint64_t pack = recorder.pack_begun(2);
  const Clock::time_point start = begin + 250us;
  recorder.started(7, begin, start, 24, pack);
  recorder.started(8, begin, start, 16, pack);
  recorder.pack_done(pack_at(start, pack, 1));
  recorder.completed(7, begin, start + 450us, begin + 1s, false);
  recorder.completed(8, begin, start + 450us, begin + 500us, false);  // 200 us late
  const Json trace = Json::parse(recorder.stop_trace({{"bundle", "a \"b\"\\\n\x01"}, {"engine", "cpu"}}, 2));

  CHECK(trace["otherData"]["bundle"] == "a \"b\"\\\n\x01");
  CHECK(trace["otherData"]["lost_events"] == 0);
  CHECK(events_of(trace, "M", "thread_name").size() == 3);
  double at = -1;
  const std::map<std::string, double> lengths = {{"preprocess", 100}, {"engine", 300}, {"unpack", 50}};
  for (const char* stage : {"preprocess", "engine", "unpack"}) {
    const std::vector<Json> spans = events_of(trace, "X", stage);
    REQUIRE(spans.size() == 1);
    CHECK(spans[0]["tid"] == 2);
    CHECK(std::abs(spans[0]["dur"].get<double>() - lengths.at(stage)) < 1e-6);
    if (at >= 0) CHECK(std::abs(spans[0]["ts"].get<double>() - at) < 1e-6);
    at = spans[0]["ts"].get<double>() + spans[0]["dur"].get<double>();
    CHECK(spans[0]["args"]["pack"] == pack);
    CHECK(spans[0]["args"]["images"] == 2);
    CHECK(spans[0]["args"]["tokens"] == 40);
    CHECK(spans[0]["args"]["capacity"] == 64);
  }
  const std::vector<Json> begins = events_of(trace, "b", "queue");
  const std::vector<Json> ends = events_of(trace, "e", "queue");
  REQUIRE(begins.size() == 2);
  REQUIRE(ends.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(begins[i]["id"] == ends[i]["id"]);
    CHECK(std::abs(ends[i]["ts"].get<double>() - begins[i]["ts"].get<double>() - 250) < 1e-6);
    CHECK(begins[i]["args"]["pack"] == pack);
  }
  CHECK(begins[0]["args"]["tokens"] == 24);
  const std::vector<Json> late = events_of(trace, "i", "deadline missed");
  REQUIRE(late.size() == 1);
  CHECK(late[0]["args"]["image"] == 8);
  CHECK(std::abs(late[0]["args"]["late_ms"].get<double>() - 0.2) < 1e-3);
  const std::vector<Json> waiting = events_of(trace, "C", "waiting");
  REQUIRE(waiting.size() == 2);
  CHECK(waiting[0]["args"]["images"] == 2);
  CHECK(waiting[1]["args"]["images"] == 0);
  const std::vector<Json> flying = events_of(trace, "C", "in flight");
  REQUIRE(flying.size() == 2);
  CHECK(flying[0]["args"]["packs"] == 1);
  CHECK(flying[1]["args"]["packs"] == 0);
}

TEST_CASE("a full ring keeps the last events and says how many it lost") {
  Recorder recorder;
  recorder.start_trace({.max_events = 10});
  const Clock::time_point begin = Clock::now();
  for (std::uint64_t id = 1; id <= 33; ++id) recorder.started(id, begin, begin + id * 1us, 4, id);
  const Json trace = Json::parse(recorder.stop_trace({}, 1));
  const std::vector<Json> begins = events_of(trace, "b", "queue");
  REQUIRE(begins.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) CHECK(begins[i]["args"]["image"] == 24 + i);
  CHECK(trace["otherData"]["lost_events"] == 23);
  CHECK(trace["otherData"]["kept_events"] == 10);
  const std::vector<Json> lost = events_of(trace, "i", "earlier events lost");
  REQUIRE(lost.size() == 1);
  CHECK(lost[0]["args"]["events"] == 23);
}

TEST_CASE("what began before the trace is cut at its beginning, and packs that fail end where they failed") {
  Recorder recorder;
  recorder.start_trace({});
  const Clock::time_point now = Clock::now();
  const Clock::time_point before = now - 1h;
  recorder.started(1, before, now + 1ms, 4, 1);
  recorder.pack_done({1, 0, 1, 4, 4, before, before + 1s, now + 3ms, now + 4ms});
  PackRecord failing{2, 0, 1, 4, 4, now + 5ms, now + 6ms, now + 8ms, now + 8ms};
  recorder.pack_failed(failing, ErrorCode::kBackend);
  recorder.failed(2, ErrorCode::kBackend, now, now + 8ms, false);
  recorder.broke();
  const Json trace = Json::parse(recorder.stop_trace({}, 1));
  CHECK(events_of(trace, "b", "queue")[0]["ts"] == 0.0);
  const std::vector<Json> engine = events_of(trace, "X", "engine");
  REQUIRE(engine.size() == 2);
  CHECK(events_of(trace, "X", "preprocess")[0]["dur"] == 0.0);  // all of it lay before
  CHECK(engine[0]["ts"] == 0.0);
  CHECK(engine[0]["dur"] < 1e6);
  CHECK(std::abs(engine[1]["dur"].get<double>() - 2000) < 1e-6);
  CHECK(events_of(trace, "X", "unpack").size() == 1);  // the failed one never came there
  REQUIRE(events_of(trace, "i", "pack failed").size() == 1);
  CHECK(events_of(trace, "i", "pack failed")[0]["args"]["error"] == "backend");
  REQUIRE(events_of(trace, "i", "error").size() == 1);
  CHECK(events_of(trace, "i", "error")[0]["args"]["image"] == 2);
  CHECK(events_of(trace, "i", "session broken").size() == 1);
}

TEST_CASE("images that never reach a pack end their waiting in the trace with the cause") {
  Recorder recorder;
  recorder.start_trace({});
  const Clock::time_point now = Clock::now();
  recorder.submitted(2);
  recorder.dropped(1);
  recorder.cancelled(2, now, now + 2ms);
  recorder.failed(3, ErrorCode::kOverBudget, now, now, true);
  const Json trace = Json::parse(recorder.stop_trace({}, 1));
  CHECK(events_of(trace, "b", "queue").size() == 2);
  CHECK(events_of(trace, "e", "queue").size() == 2);
  for (const char* name : {"dropped", "cancelled", "error"}) CHECK(events_of(trace, "i", name).size() == 1);
  CHECK(events_of(trace, "i", "error")[0]["args"]["error"] == "over_budget");
  CHECK(events_of(trace, "C", "waiting").back()["args"]["images"] == 0);
}

TEST_CASE("nothing is recorded before the start and after the stop, and both in the wrong order are refused") {
  Recorder recorder;
  recorder.submitted(5);
  CHECK_THROWS_WITH_AS(recorder.stop_trace({}, 1), "no trace is being recorded; start one first", InvalidInput);
  CHECK_THROWS_WITH_AS(recorder.start_trace({.max_events = 0}), "max_events is 0", InvalidInput);
  recorder.start_trace({});
  CHECK_THROWS_WITH_AS(recorder.start_trace({}), "a trace is being recorded already", InvalidInput);
  Json trace = Json::parse(recorder.stop_trace({}, 1));
  CHECK(trace["otherData"]["kept_events"] == 0);
  recorder.submitted(1);
  recorder.start_trace({});
  trace = Json::parse(recorder.stop_trace({}, 1));
  CHECK(trace["otherData"]["kept_events"] == 0);
}
