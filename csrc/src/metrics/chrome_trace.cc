#include "metrics/chrome_trace.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "bundle/json_text.h"

namespace navit_edge {
namespace {

using Kind = TraceEvent::Kind;

constexpr int kSessionThread = 0;  // slot k is thread k + 1

/// Writes the array of events; text by text, since a trace may hold a million.
class TraceWriter {
 public:
  explicit TraceWriter(std::size_t events) { text_.reserve(256 + events * 240); }

  /// `more` is what follows in the object, with its comma: `,"args":{"images":3}`.
  void event(const char* phase, const std::string& name, int thread, std::int64_t at_ns, const std::string& more) {
    text_ += text_.empty() ? "[\n" : ",\n";
    text_ += "{\"ph\":\"" + std::string(phase) + "\",\"name\":" + json_string(name) + ",\"pid\":" + pid_ +
             ",\"tid\":" + std::to_string(thread) + ",\"ts\":" + microseconds(at_ns) + more + "}";
  }
  void metadata(const char* name, int thread, const std::string& args) {
    event("M", name, thread, 0, ",\"args\":{" + args + "}");
  }
  void span(const char* name, int thread, std::int64_t at_ns, std::int64_t length_ns, const std::string& args) {
    event("X", name, thread, at_ns, ",\"dur\":" + microseconds(length_ns) + ",\"args\":{" + args + "}");
  }
  /// `scope`: "t" the thread, "g" everything.
  void instant(const char* name, int thread, std::int64_t at_ns, const char* scope, const std::string& args) {
    event("i", name, thread, at_ns, std::string(",\"s\":\"") + scope + "\",\"args\":{" + args + "}");
  }
  void gauge(const char* name, const char* unit, std::int64_t at_ns, std::uint64_t value) {
    event("C", name, kSessionThread, at_ns, std::string(",\"args\":{\"") + unit + "\":" + std::to_string(value) + "}");
  }
  void async(const char* name, std::uint64_t id, std::int64_t at_ns, std::int64_t length_ns, const std::string& args) {
    const std::string of = ",\"cat\":\"image\",\"id\":\"" + std::to_string(id) + "\"";
    event("b", name, kSessionThread, at_ns, of + ",\"args\":{" + args + "}");
    event("e", name, kSessionThread, at_ns + length_ns, of);
  }

  std::string take() { return text_.empty() ? "[]" : std::move(text_) + "\n]"; }

 private:
  static std::string microseconds(std::int64_t ns) {
    char text[40];
    std::snprintf(text, sizeof(text), "%lld.%03lld", static_cast<long long>(ns / 1000),
                  static_cast<long long>(ns % 1000));
    return text;
  }

  std::string text_;
  std::string pid_ = std::to_string(::getpid());
};

void write_pack(TraceWriter& out, const TraceEvent& event) {
  const int thread = event.slot + 1;
  const std::string args = "\"pack\":" + std::to_string(event.pack) + ",\"images\":" + std::to_string(event.images) +
                           ",\"tokens\":" + std::to_string(event.tokens) +
                           ",\"capacity\":" + std::to_string(event.capacity);
  static constexpr const char* kStages[] = {"preprocess", "engine", "unpack"};
  std::int64_t at_ns = event.at_ns;
  for (int i = 0; i < 3; ++i) {
    if (event.spans_ns[i] > 0 || event.kind == Kind::kPack) {
      out.span(kStages[i], thread, at_ns, event.spans_ns[i], args);
    }
    at_ns += event.spans_ns[i];
  }
  if (event.kind == Kind::kPackFailed) {
    out.instant("pack failed", thread, at_ns, "t", args + ",\"error\":\"" + label_of(event.code) + "\"");
  }
}

void write(TraceWriter& out, const TraceEvent& event) {
  const std::string image = "\"image\":" + std::to_string(event.id);
  switch (event.kind) {
    case Kind::kQueue: {
      // An image that was cancelled, dropped or refused has waited for no pack.
      std::string args = image;
      if (event.tokens > 0) args += ",\"tokens\":" + std::to_string(event.tokens);
      if (event.pack > 0) args += ",\"pack\":" + std::to_string(event.pack);
      out.async("queue", event.id, event.at_ns, event.spans_ns[0], args);
      break;
    }
    case Kind::kPack:
    case Kind::kPackFailed:
      write_pack(out, event);
      break;
    case Kind::kWaiting:
      out.gauge("waiting", "images", event.at_ns, event.id);
      break;
    case Kind::kInFlight:
      out.gauge("in flight", "packs", event.at_ns, event.id);
      break;
    case Kind::kRecalled:
      out.instant("recalled", kSessionThread, event.at_ns, "t", image);
      break;
    case Kind::kRunsAgain:
      out.instant("runs again", kSessionThread, event.at_ns, "t", image);
      break;
    case Kind::kCancelled:
      out.instant("cancelled", kSessionThread, event.at_ns, "t", image);
      break;
    case Kind::kDropped:
      out.instant("dropped", kSessionThread, event.at_ns, "t", "\"tag\":" + std::to_string(event.id));
      break;
    case Kind::kFailed:
      out.instant("error", kSessionThread, event.at_ns, "t", image + ",\"error\":\"" + label_of(event.code) + "\"");
      break;
    case Kind::kDeadlineMissed:
      out.instant("deadline missed", kSessionThread, event.at_ns, "t",
                  image + ",\"late_ms\":" + std::to_string(static_cast<double>(event.spans_ns[0]) / 1e6));
      break;
    case Kind::kBroken:
      out.instant("session broken", kSessionThread, event.at_ns, "g", "");
      break;
  }
}

std::string utc(std::chrono::system_clock::time_point when) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

std::string chrome_trace(const TraceRecord& record, const Labels& labels, int slots) {
  TraceWriter out(record.events.size());
  std::string title = "navit-edge";
  for (const auto& [name, value] : labels) title += " " + value;
  out.metadata("process_name", kSessionThread, "\"name\":" + json_string(title));
  for (const TraceEvent& event : record.events) slots = std::max(slots, event.slot + 1);
  for (int thread = 0; thread <= slots; ++thread) {
    const std::string name = thread == kSessionThread ? "images" : "slot " + std::to_string(thread - 1);
    out.metadata("thread_name", thread, "\"name\":" + json_string(name));
    out.metadata("thread_sort_index", thread, "\"sort_index\":" + std::to_string(thread));
  }
  if (record.lost > 0) {
    out.instant("earlier events lost", kSessionThread, record.events.front().at_ns, "g",
                "\"events\":" + std::to_string(record.lost) +
                    ",\"remedy\":\"the trace keeps its last events: a shorter trace, or a larger max_events\"");
  }
  for (const TraceEvent& event : record.events) write(out, event);
  std::string other;
  for (const auto& [name, value] : labels) other += json_string(name) + ":" + json_string(value) + ",";
  other += "\"began\":\"" + utc(record.began) + "\",\"length_us\":" + std::to_string(record.length_ns / 1000) +
           ",\"kept_events\":" + std::to_string(record.events.size()) +
           ",\"lost_events\":" + std::to_string(record.lost);
  return "{\"displayTimeUnit\":\"ms\",\"otherData\":{" + other + "},\"traceEvents\":" + out.take() + "}\n";
}

}  // namespace navit_edge
