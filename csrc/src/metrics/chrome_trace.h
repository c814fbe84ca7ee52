// A trace as Chrome Trace Event JSON.
#pragma once

#include <string>

#include "metrics/trace.h"
#include "navit_edge/metrics.h"

namespace navit_edge {

/// The record as a JSON object in Chrome's Trace Event Format, which Perfetto opens. A thread for each of `slots`,
/// async spans for images that wait, counters; what was lost is said in the trace and in otherData. `labels` go to
/// otherData.
std::string chrome_trace(const TraceRecord& record, const Labels& labels, int slots);

}  // namespace navit_edge
