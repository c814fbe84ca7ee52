#include "navit_edge/prometheus.h"

#include <charconv>
#include <cmath>
#include <set>

#include "base/text.h"
#include "navit_edge/error.h"
#include "navit_edge/metrics.h"

namespace navit_edge {
namespace {

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[40];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;  // the shortest that reads back the same
  return {text, end};
}
std::string number(std::uint64_t value) { return std::to_string(value); }

/// As the text format asks: UTF-8; a backslash, a quote and a line feed of a label's value are escaped.
std::string escaped(const std::string& value) {
  std::string text;
  for (const char c : utf8_of(value)) {
    if (c == '\\' || c == '"') text += '\\';
    text += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return text;
}

bool is_label_name(const std::string& name) {
  if (name.empty() || name.starts_with("__") || name == "le" || name == "error" || name == "device") return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!letter && (i == 0 || c < '0' || c > '9')) return false;
  }
  return true;
}

/// `bundle="navit",engine="cpu"`
std::string text_of(const Labels& labels) {
  std::set<std::string> seen;
  std::string text;
  for (const auto& [name, value] : labels) {
    if (!is_label_name(name)) {
      throw InvalidInput("\"" + name +
                         "\" is no name for a label; expected letters, digits and underscores, no digit "
                         "first, no two underscores first, and neither le, error nor device, which are taken");
    }
    if (!seen.insert(name).second) throw InvalidInput("the label " + name + " is given twice; name each once");
    text += (text.empty() ? "" : ",") + name + "=\"" + escaped(value) + "\"";
  }
  return text;
}

class MetricsWriter {
 public:
  explicit MetricsWriter(std::span<const LabelledMetrics> sessions) : sessions_(sessions) {
    std::set<std::string> seen;
    for (const LabelledMetrics& session : sessions) {
      labels_.push_back(text_of(session.labels));
      if (!seen.insert(labels_.back()).second) {
        throw InvalidInput("two sessions have the labels {" + labels_.back() +
                           "}; give each one of its own, as session=\"front\"");
      }
    }
  }

  template <class Value>
  void counter(const char* name, const char* help, const Value& value) {
    one(name, "counter", help, value);
  }
  template <class Value>
  void gauge(const char* name, const char* help, const Value& value) {
    one(name, "gauge", help, value);
  }

  void failures(const char* name, const char* help) {
    head(name, "counter", help);
    for (std::size_t i = 0; i < sessions_.size(); ++i) {
      for (const ErrorCode code :
           {ErrorCode::kInvalidInput, ErrorCode::kOverBudget, ErrorCode::kBundle, ErrorCode::kBackend}) {
        line(name, i, std::string("error=\"") + label_of(code) + "\"",
             number(sessions_[i].metrics->failed[static_cast<std::size_t>(code)]));
      }
    }
  }

  /// Of each device of each session.
  template <class Value>
  void devices(const char* name, const char* type, const char* help, const Value& value) {
    head(name, type, help);
    for (std::size_t i = 0; i < sessions_.size(); ++i) {
      for (const DeviceMetrics& device : sessions_[i].metrics->devices) {
        line(name, i, "device=\"" + escaped(device.name) + "\"", number(value(device)));
      }
    }
  }

  void histogram(const char* name, const char* help, Histogram Metrics::* which) {
    head(name, "histogram", help);
    const std::string base = name;
    for (std::size_t i = 0; i < sessions_.size(); ++i) {
      const Histogram& all = sessions_[i].metrics->*which;
      std::uint64_t below = 0;
      for (std::size_t bucket = 0; bucket < all.buckets->size(); ++bucket) {
        below += all.counts[bucket];
        if (bucket % all.buckets->coarse() != 0) continue;
        line(base + "_bucket", i, "le=\"" + number(all.buckets->bound(bucket)) + "\"", number(below));
      }
      const std::string count = number(below + all.counts.back());
      line(base + "_bucket", i, "le=\"+Inf\"", count);
      line(base + "_sum", i, "", number(all.sum));
      line(base + "_count", i, "", count);
    }
  }

  std::string take() { return std::move(text_); }

 private:
  template <class Value>
  void one(const char* name, const char* type, const char* help, const Value& value) {
    head(name, type, help);
    for (std::size_t i = 0; i < sessions_.size(); ++i) line(name, i, "", number(value(*sessions_[i].metrics)));
  }
  void head(const std::string& name, const std::string& type, const std::string& help) {
    text_ += "# HELP " + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
  }
  void line(const std::string& name, std::size_t session, const std::string& more, const std::string& value) {
    const std::string& labels = labels_[session];
    const std::string all = labels + (labels.empty() || more.empty() ? "" : ",") + more;
    text_ += name + (all.empty() ? "" : "{" + all + "}") + " " + value + "\n";
  }

  std::span<const LabelledMetrics> sessions_;
  std::vector<std::string> labels_;  // [sessions]
  std::string text_;
};

}  // namespace

std::string to_prometheus(std::span<const LabelledMetrics> sessions) {
  MetricsWriter out(sessions);
  using M = const Metrics&;
  out.counter("navit_edge_images_submitted_total", "Images taken, by run, submit and stream.",
              [](M m) { return m.submitted; });
  out.counter("navit_edge_images_completed_total", "Images with a result.", [](M m) { return m.completed; });
  out.failures("navit_edge_images_failed_total", "Images that ended with an error.");
  out.counter("navit_edge_images_cancelled_total", "Images taken back before they ran, by the caller or by closing.",
              [](M m) { return m.cancelled; });
  out.counter("navit_edge_images_dropped_total", "Images that a stream's drop policy left out.",
              [](M m) { return m.dropped; });
  out.counter("navit_edge_images_scaled_down_total", "Images completed with fewer tokens than the bundle's rule gives.",
              [](M m) { return m.scaled_down; });
  out.counter("navit_edge_cascade_accepted_total", "Results of a cascade's first pass that stood.",
              [](M m) { return m.cascade_accepted; });
  out.counter("navit_edge_cascade_kept_total", "Those that stood since a deadline left no time for a second pass.",
              [](M m) { return m.cascade_kept; });
  out.counter("navit_edge_cascade_again_total", "Images that a cascade ran again.",
              [](M m) { return m.cascade_again; });
  out.counter("navit_edge_deadlines_met_total", "Images completed within their deadline.",
              [](M m) { return m.deadlines_met; });
  out.counter("navit_edge_deadlines_missed_total", "Images completed after their deadline.",
              [](M m) { return m.deadlines_missed; });
  out.counter("navit_edge_latency_targets_met_total", "Images completed within the target of their latency policy.",
              [](M m) { return m.targets_met; });
  out.counter("navit_edge_latency_targets_missed_total", "Images completed after the target of their latency policy.",
              [](M m) { return m.targets_missed; });
  out.counter("navit_edge_callback_errors_total", "Exceptions that callbacks let out.",
              [](M m) { return m.callback_errors; });
  out.counter("navit_edge_packs_total", "Packs completed.", [](M m) { return m.packs; });
  out.counter("navit_edge_packs_failed_total", "Packs that failed.", [](M m) { return m.packs_failed; });
  out.counter("navit_edge_tokens_used_total", "Tokens of images, in completed packs.",
              [](M m) { return m.tokens_used; });
  out.counter("navit_edge_tokens_padding_total", "Tokens computed that were no image's, in completed packs.",
              [](M m) { return m.tokens_padding; });

  out.counter("navit_edge_cache_hits_total", "Images whose result was remembered.", [](M m) { return m.cache.hits; });
  out.counter("navit_edge_cache_misses_total", "Images of a session with a cache that had to be computed.",
              [](M m) { return m.cache.misses; });
  out.counter("navit_edge_cache_coalesced_total", "Images that waited for the result of another of the same content.",
              [](M m) { return m.cache.coalesced; });
  out.counter("navit_edge_cache_evictions_total", "Remembered results that gave way.",
              [](M m) { return m.cache.evictions; });

  const auto as_number = [](auto value) { return static_cast<double>(value); };
  out.gauge("navit_edge_uptime_seconds", "Since the session was opened.", [](M m) { return m.uptime_s; });
  out.gauge("navit_edge_images_waiting", "Images submitted and in no pack yet.",
            [&](M m) { return as_number(m.waiting); });
  out.gauge("navit_edge_packs_in_flight", "Packs between the start of preprocessing and their results.",
            [&](M m) { return as_number(m.in_flight); });
  out.gauge("navit_edge_slots", "Packs that may be in flight at once.", [&](M m) { return as_number(m.slots); });
  out.gauge("navit_edge_broken", "1 if the session takes no more images.",
            [&](M m) { return as_number(m.broken ? 1 : 0); });

  out.gauge("navit_edge_cache_entries", "Remembered results.", [&](M m) { return as_number(m.cache.entries); });
  out.gauge("navit_edge_cache_bytes", "Bytes that remembered results take.",
            [&](M m) { return as_number(m.cache.bytes); });
  out.gauge("navit_edge_memory_resident_bytes", "Bytes that the process of the session holds.",
            [&](M m) { return as_number(m.memory.resident_bytes); });
  out.gauge("navit_edge_memory_limit_bytes", "Bytes that it is to stay under; 0: no limit.",
            [&](M m) { return as_number(m.memory.most_bytes); });
  using D = const DeviceMetrics&;
  out.devices("navit_edge_device_packs_total", "counter", "Packs completed by a device.", [](D d) { return d.packs; });
  out.devices("navit_edge_device_packs_failed_total", "counter",
              "Packs that failed on a device, and may have been run again on another.",
              [](D d) { return d.packs_failed; });
  out.devices("navit_edge_device_images_total", "counter", "Images of the packs that a device completed.",
              [](D d) { return d.images; });
  out.devices("navit_edge_device_tokens_total", "counter", "Tokens of images, in packs that a device completed.",
              [](D d) { return d.tokens; });
  out.devices("navit_edge_device_busy_seconds_total", "counter", "Time of a device with the packs that it completed.",
              [](D d) { return d.busy_s; });
  out.devices("navit_edge_device_packs_in_flight", "gauge", "Packs that a device has.",
              [&](D d) { return as_number(d.in_flight); });
  out.devices("navit_edge_device_slots", "gauge", "Packs that a device may have at once.",
              [&](D d) { return as_number(d.slots); });
  out.devices("navit_edge_device_lost", "gauge", "1 if a device has failed and takes no more packs.",
              [&](D d) { return as_number(d.lost.empty() ? 0 : 1); });

  out.histogram("navit_edge_image_queue_seconds", "From submission to the start of the image's pack.", &Metrics::queue);
  out.histogram("navit_edge_image_latency_seconds", "From submission to the result, of completed images.",
                &Metrics::latency);
  out.histogram("navit_edge_image_tokens", "Tokens of an image.", &Metrics::image_tokens);
  out.histogram("navit_edge_deadline_slack_seconds", "What was left of a deadline that was met.", &Metrics::slack);
  out.histogram("navit_edge_deadline_overrun_seconds", "By how much a deadline was missed.", &Metrics::overrun);
  out.histogram("navit_edge_pack_seconds", "Of a completed pack, from the start of preprocessing to the results.",
                &Metrics::pack);
  out.histogram("navit_edge_pack_preprocess_seconds", "Resizing and writing a pack.", &Metrics::preprocess);
  out.histogram("navit_edge_pack_engine_seconds", "A pack in the engine.", &Metrics::engine);
  out.histogram("navit_edge_pack_unpack_seconds", "Taking a pack's outputs apart.", &Metrics::unpack);
  out.histogram("navit_edge_pack_fill_ratio", "Used tokens of a pack over those computed.", &Metrics::fill);
  out.histogram("navit_edge_pack_images", "Images in a pack.", &Metrics::pack_images);
  return out.take();
}

std::string to_prometheus(const Metrics& metrics, const Labels& labels) {
  const LabelledMetrics one{&metrics, labels};
  return to_prometheus(std::span(&one, 1));
}

}  // namespace navit_edge
