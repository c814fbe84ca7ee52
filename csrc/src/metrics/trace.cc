#include "metrics/trace.h"

#include <algorithm>

#include "navit_edge/error.h"
#include "navit_edge/option_range.h"

namespace navit_edge {
namespace {

std::int64_t nanoseconds(Clock::duration span) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(span).count();
}

}  // namespace

void TraceBuffer::start(const TraceOptions& options) {
  check_option("max_events", static_cast<double>(options.max_events));
  const std::lock_guard lock(mutex_);
  if (on()) throw InvalidInput("a trace is being recorded already; stop it before another is started");
  ring_.reserve(options.max_events);
  most_ = options.max_events;
  entered_ = 0;
  began_ = Clock::now();
  began_wall_ = std::chrono::system_clock::now();
  on_.store(true, std::memory_order_relaxed);
}

TraceRecord TraceBuffer::stop() {
  const std::lock_guard lock(mutex_);
  if (!on()) throw InvalidInput("no trace is being recorded; start one first");
  on_.store(false, std::memory_order_relaxed);
  TraceRecord record;
  record.length_ns = nanoseconds(Clock::now() - began_);
  record.began = began_wall_;
  if (entered_ > ring_.size()) {
    record.lost = entered_ - ring_.size();
    std::rotate(ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(entered_ % most_), ring_.end());
  }
  record.events = std::move(ring_);
  ring_ = {};
  return record;
}

void TraceBuffer::push(TraceEvent event, Clock::time_point at) noexcept {
  const std::lock_guard lock(mutex_);
  if (!on()) return;  // stopped since the caller looked
  event.at_ns = nanoseconds(at - began_);
  for (std::int64_t& span : event.spans_ns) {
    if (event.at_ns >= 0) break;
    const std::int64_t cut = std::min(-event.at_ns, span);
    span -= cut;
    event.at_ns += cut;
  }
  event.at_ns = std::max<std::int64_t>(event.at_ns, 0);
  enter(event);
}

void TraceBuffer::enter_gauge(TraceEvent::Kind kind, std::int64_t value) noexcept {
  TraceEvent event;
  event.kind = kind;
  event.at_ns = nanoseconds(Clock::now() - began_);
  event.id = static_cast<std::uint64_t>(value);
  enter(event);
}

void TraceBuffer::enter(const TraceEvent& event) noexcept {
  if (ring_.size() < most_) {
    ring_.push_back(event);  // within the capacity that start has taken
  } else {
    ring_[static_cast<std::size_t>(entered_ % most_)] = event;
  }
  ++entered_;
}

}  // namespace navit_edge
