// Sessions' numbers as Prometheus text.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "navit_edge/cxx20.h"

namespace navit_edge {

struct Metrics;

using Labels = std::vector<std::pair<std::string, std::string>>;

/// One session's numbers and what tells it from others: {{"bundle", "navit"}, {"engine", "openvino-cpu-bf16"}}.
struct LabelledMetrics {
  const Metrics* metrics;
  Labels labels;
};

/// Prometheus text exposition format 0.0.4, all names beginning with navit_edge_ (docs/metrics.md lists them). Several
/// sessions share one HELP and TYPE of each name, as the format demands. Label values may hold anything; throws
/// InvalidInput for a label name that the format does not allow, one given twice, and two sessions with equal labels.
NAVIT_EDGE_API std::string to_prometheus(std::span<const LabelledMetrics> sessions);
NAVIT_EDGE_API std::string to_prometheus(const Metrics& metrics, const Labels& labels);

}  // namespace navit_edge
