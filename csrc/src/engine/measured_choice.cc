#include "engine/measured_choice.h"

#include <algorithm>
#include <cstdio>

#include "bundle/json_reader.h"
#include "navit_edge/cost.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr std::int32_t kMostTokens = 1024;  // of the pack that is compared: a long one, where engines differ most
constexpr std::int64_t kImages = 4;
constexpr std::size_t kMostEntries = 65536;  // of a report's lists

double time_of(const Manifest& manifest, const EngineSpec& engine, std::int32_t tokens) {
  const auto holds = [&](const Budget& budget) { return budget.tokens >= tokens; };
  const auto budget = std::find_if(engine.budgets.begin(), engine.budgets.end(), holds);
  const std::int64_t each = std::max<std::int64_t>(tokens / kImages, 1);
  return cost_model(manifest, engine)
      .pack_us(static_cast<std::size_t>(budget - engine.budgets.begin()), budget->tokens,
               {.tokens = tokens, .images = kImages, .longest = each, .squares = kImages * each * each});
}

/// "reports/quantize-int8.json", or with a hash before its ending. Empty: there is none.
std::string report_of(const Manifest& manifest, Precision precision) {
  const std::string stem = "reports/quantize-" + std::string(word_of(precision)) + ".";
  for (const auto& [name, file] : manifest.files) {
    if (name.starts_with(stem) && name.ends_with(".json")) return name;
  }
  return {};
}

bool is_of(const JsonReader& report, const std::string& graph) {
  const std::vector<JsonReader> graphs = report.at("graphs").array(kMostEntries);
  return std::any_of(graphs.begin(), graphs.end(), [&](const JsonReader& one) { return one.string() == graph; });
}

std::string decimals(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

}  // namespace

bool comparable(const EngineSpec& a, const EngineSpec& b, const std::string& device) {
  return !a.cost.empty() && !b.cost.empty() && a.cost_device == device && b.cost_device == device &&
         a.cost_threads == b.cost_threads;
}

double speed_over(const Manifest& manifest, const EngineSpec& a, const EngineSpec& b) {
  const std::int32_t tokens = std::min({kMostTokens, a.budgets.back().tokens, b.budgets.back().tokens});
  return time_of(manifest, b, tokens) / time_of(manifest, a, tokens);
}

std::optional<RecordedAccuracy> recorded_accuracy(const Manifest& manifest, const EngineSpec& engine) {
  const std::string name = report_of(manifest, engine.precision);
  if (name.empty()) return std::nullopt;
  try {
    const FileBytes content = manifest.verified_bytes(name);
    const std::span<const std::byte> bytes = content.bytes();
    const JsonReader report({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, {name, "quantize again"});
    if (!is_of(report, engine.graph)) return std::nullopt;
    const JsonReader accuracy = report.at("accuracy");
    RecordedAccuracy found{.held_out = accuracy.has("held out")};
    for (const JsonReader& output : accuracy.at(found.held_out ? "held out" : "calibration").array(kMostEntries)) {
      found.least_cosine = std::min(found.least_cosine, output.at("cosine_min").number());
    }
    return found;
  } catch (const Error&) {  // the report is for people first: an engine does not depend on it
    return std::nullopt;
  }
}

Verdict verdict_of(const Manifest& manifest, const EngineSpec& engine) {
  if (engine.precision != Precision::kInt8 && engine.precision != Precision::kFp8) return {};
  const auto accuracy = recorded_accuracy(manifest, engine);
  if (!accuracy) return {false, "the bundle does not say what it loses"};
  const std::string measured = "least cosine to float32 " + decimals(accuracy->least_cosine, 4) + " on " +
                               (accuracy->held_out ? "held-out" : "calibration") + " images";
  if (accuracy->least_cosine >= kLeastCosine) return {true, measured};
  return {false, measured + ", below " + decimals(kLeastCosine, 2)};
}

}  // namespace navit_edge
