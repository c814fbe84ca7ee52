#include "metrics/recorder.h"

#include <algorithm>

#include "metrics/chrome_trace.h"

namespace navit_edge {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

double seconds(Clock::duration span) { return std::chrono::duration<double>(span).count(); }
std::int64_t elapsed_ns(Clock::duration span) {
  return std::max<std::int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(span).count(), 0);
}

void count(std::atomic<std::uint64_t>& counter, std::uint64_t more = 1) noexcept { counter.fetch_add(more, kRelaxed); }

}  // namespace

void AtomicHistogram::observe(const Buckets& buckets, double value) noexcept {
  if (!(value >= 0)) value = 0;  // clocks of two threads may differ by a tick
  double min = min_.load(kRelaxed);
  while (value < min && !min_.compare_exchange_weak(min, value, kRelaxed)) {
  }
  double max = max_.load(kRelaxed);
  while (value > max && !max_.compare_exchange_weak(max, value, kRelaxed)) {
  }
  sum_.fetch_add(value, kRelaxed);
  counts_[buckets.index(value)].fetch_add(1, kRelaxed);
}

void AtomicHistogram::add_to(Histogram& all) const {
  std::uint64_t mine = 0;
  const bool first = all.count() == 0;
  for (std::size_t i = 0; i < all.counts.size(); ++i) {
    const std::uint64_t one = counts_[i].load(kRelaxed);
    all.counts[i] += one;
    mine += one;
  }
  if (mine == 0) return;
  all.sum += sum_.load(kRelaxed);
  all.min = first ? min_.load(kRelaxed) : std::min(all.min, min_.load(kRelaxed));
  all.max = first ? max_.load(kRelaxed) : std::max(all.max, max_.load(kRelaxed));
}

Recorder::Shard& Recorder::shard() noexcept {
  static std::atomic<std::size_t> threads{0};
  thread_local const std::size_t mine = threads.fetch_add(1, kRelaxed) % kShards;
  return shards_[mine];
}

std::int64_t Recorder::waiting() const noexcept {
  std::uint64_t came = 0;
  std::uint64_t left = 0;
  for (std::size_t i = 0; i < kShards; ++i) {
    const Shard& one = shards_[i];
    left += one.joined.load(kRelaxed) + one.recalled.load(kRelaxed) + one.cancelled.load(kRelaxed) +
            one.failed_waiting.load(kRelaxed);
    came += one.submitted.load(kRelaxed);
  }
  return std::max<std::int64_t>(static_cast<std::int64_t>(came - left), 0);
}

void Recorder::trace_waiting() noexcept {
  trace_.push_gauge(TraceEvent::Kind::kWaiting, [this] { return waiting(); });
}

void Recorder::trace_in_flight() noexcept {
  trace_.push_gauge(TraceEvent::Kind::kInFlight, [this] { return in_flight_.load(kRelaxed); });
}

void Recorder::submitted(std::uint64_t images) noexcept {
  count(shard().submitted, images);
  if (trace_.on()) trace_waiting();
}

void Recorder::started(std::uint64_t id, Clock::time_point submitted, Clock::time_point start, std::int32_t tokens,
                       std::uint64_t pack) noexcept {
  Shard& mine = shard();
  mine.queue.observe(Buckets::seconds(), seconds(start - submitted));
  mine.image_tokens.observe(Buckets::tokens(), tokens);
  if (!trace_.on()) return;
  TraceEvent event;
  event.kind = TraceEvent::Kind::kQueue;
  event.id = id;
  event.pack = pack;
  event.tokens = tokens;
  event.spans_ns[0] = elapsed_ns(start - submitted);
  trace_.push(event, submitted);
}

void Recorder::target(bool met) noexcept { count(met ? shard().targets_met : shard().targets_missed); }

void Recorder::completed(std::uint64_t id, Clock::time_point submitted, Clock::time_point now,
                         Clock::time_point deadline, bool scaled_down) noexcept {
  Shard& mine = shard();
  if (scaled_down) count(mine.scaled_down);
  mine.latency.observe(Buckets::seconds(), seconds(now - submitted));
  if (deadline == Clock::time_point::max()) return;
  const double left_s = seconds(deadline - now);
  if (left_s >= 0) {
    mine.slack.observe(Buckets::seconds(), left_s);
    return;
  }
  mine.overrun.observe(Buckets::seconds(), -left_s);
  if (!trace_.on()) return;
  TraceEvent event;
  event.kind = TraceEvent::Kind::kDeadlineMissed;
  event.id = id;
  event.spans_ns[0] = static_cast<std::int64_t>(-left_s * 1e9);
  trace_.push(event, now);
}

void Recorder::recalled(std::uint64_t id, Clock::time_point submitted, Clock::time_point now,
                        Clock::time_point deadline, bool scaled_down) noexcept {
  count(shard().recalled);
  completed(id, submitted, now, deadline, scaled_down);
  left_queue(TraceEvent::Kind::kRecalled, id, ErrorCode::kOk, submitted, now);
}

void Recorder::left_queue(TraceEvent::Kind kind, std::uint64_t id, ErrorCode code, Clock::time_point submitted,
                          Clock::time_point now) noexcept {
  if (!trace_.on()) return;
  TraceEvent event;
  event.kind = TraceEvent::Kind::kQueue;
  event.id = id;
  event.spans_ns[0] = elapsed_ns(now - submitted);
  trace_.push(event, submitted);
  event.kind = kind;
  event.code = code;
  event.spans_ns[0] = 0;
  trace_.push(event, now);
  trace_waiting();
}

void Recorder::failed(std::uint64_t id, ErrorCode code, Clock::time_point submitted, Clock::time_point now,
                      bool waited) noexcept {
  if (code == ErrorCode::kCancelled && waited) return cancelled(id, submitted, now);
  const auto index = static_cast<std::size_t>(code);
  count(shard().failed[index < kErrorCodes ? index : static_cast<std::size_t>(ErrorCode::kBackend)]);
  if (waited) {
    count(shard().failed_waiting);
    left_queue(TraceEvent::Kind::kFailed, id, code, submitted, now);
  } else if (trace_.on()) {
    TraceEvent event;
    event.kind = TraceEvent::Kind::kFailed;
    event.id = id;
    event.code = code;
    trace_.push(event, now);
  }
}

void Recorder::runs_again(std::uint64_t id, Clock::time_point now) noexcept {
  count(shard().again);
  pack_undone(1);
  if (!trace_.on()) return;
  TraceEvent event;
  event.kind = TraceEvent::Kind::kRunsAgain;
  event.id = id;
  trace_.push(event, now);
}

void Recorder::cascaded(CascadeStep step) noexcept {
  if (step == CascadeStep::kAccepted) count(shard().accepted);
  if (step == CascadeStep::kKept) count(shard().kept);
}

void Recorder::cancelled(std::uint64_t id, Clock::time_point submitted, Clock::time_point now) noexcept {
  count(shard().cancelled);
  left_queue(TraceEvent::Kind::kCancelled, id, ErrorCode::kCancelled, submitted, now);
}

void Recorder::dropped(std::uint64_t tag) noexcept {
  count(shard().dropped);
  if (!trace_.on()) return;
  TraceEvent event;
  event.kind = TraceEvent::Kind::kDropped;
  event.id = tag;
  trace_.push(event, Clock::now());
}

std::uint64_t Recorder::pack_begun(std::size_t images) noexcept {
  count(shard().joined, images);
  in_flight_.fetch_add(1, kRelaxed);
  if (trace_.on()) {
    trace_waiting();
    trace_in_flight();
  }
  return pack_numbers_.fetch_add(1, kRelaxed) + 1;
}

void Recorder::pack_undone(std::size_t images) noexcept {
  shard().joined.fetch_sub(images, kRelaxed);  // may fall below 0 here: all shards together count
  if (trace_.on()) trace_waiting();
}

void Recorder::pack_done(const PackRecord& pack) noexcept {
  in_flight_.fetch_sub(1, kRelaxed);
  Shard& mine = shard();
  count(mine.tokens_used, static_cast<std::uint64_t>(pack.tokens));
  count(mine.tokens_padding, static_cast<std::uint64_t>(std::max(pack.capacity - pack.tokens, 0)));
  mine.preprocess.observe(Buckets::seconds(), seconds(pack.written - pack.start));
  mine.engine.observe(Buckets::seconds(), seconds(pack.ran - pack.written));
  mine.unpack.observe(Buckets::seconds(), seconds(pack.done - pack.ran));
  mine.pack.observe(Buckets::seconds(), seconds(pack.done - pack.start));
  mine.fill.observe(Buckets::ratio(), static_cast<double>(pack.tokens) / std::max(pack.capacity, 1));
  mine.pack_images.observe(Buckets::images(), pack.images);
  trace_pack(TraceEvent::Kind::kPack, pack, ErrorCode::kOk);
}

void Recorder::pack_failed(const PackRecord& pack, ErrorCode code) noexcept {
  in_flight_.fetch_sub(1, kRelaxed);
  count(shard().packs_failed);
  trace_pack(TraceEvent::Kind::kPackFailed, pack, code);
}

void Recorder::trace_pack(TraceEvent::Kind kind, const PackRecord& pack, ErrorCode code) noexcept {
  if (!trace_.on()) return;
  TraceEvent event;
  event.kind = kind;
  event.slot = pack.slot;
  event.pack = pack.number;
  event.images = pack.images;
  event.tokens = pack.tokens;
  event.capacity = pack.capacity;
  event.code = code;
  event.spans_ns[0] = elapsed_ns(pack.written - pack.start);
  event.spans_ns[1] = elapsed_ns(pack.ran - pack.written);
  event.spans_ns[2] = elapsed_ns(pack.done - pack.ran);
  trace_.push(event, pack.start);
  trace_in_flight();
}

void Recorder::broke() noexcept {
  if (broken_.exchange(true, kRelaxed) || !trace_.on()) return;
  TraceEvent event;
  event.kind = TraceEvent::Kind::kBroken;
  trace_.push(event, Clock::now());
}

Metrics Recorder::metrics() const {
  Metrics all;
  all.uptime_s = seconds(Clock::now() - opened_);
  for (std::size_t i = 0; i < kShards; ++i) {
    const Shard& one = shards_[i];
    all.submitted += one.submitted.load(kRelaxed);
    for (std::size_t code = 0; code < kErrorCodes; ++code) {
      all.failed[code] += one.failed[code].load(kRelaxed);
    }
    all.cancelled += one.cancelled.load(kRelaxed);
    all.dropped += one.dropped.load(kRelaxed);
    all.scaled_down += one.scaled_down.load(kRelaxed);
    all.targets_met += one.targets_met.load(kRelaxed);
    all.targets_missed += one.targets_missed.load(kRelaxed);
    all.cascade_accepted += one.accepted.load(kRelaxed);
    all.cascade_kept += one.kept.load(kRelaxed);
    all.cascade_again += one.again.load(kRelaxed);
    all.packs_failed += one.packs_failed.load(kRelaxed);
    all.tokens_used += one.tokens_used.load(kRelaxed);
    all.tokens_padding += one.tokens_padding.load(kRelaxed);
    one.queue.add_to(all.queue);
    one.latency.add_to(all.latency);
    one.preprocess.add_to(all.preprocess);
    one.engine.add_to(all.engine);
    one.unpack.add_to(all.unpack);
    one.pack.add_to(all.pack);
    one.slack.add_to(all.slack);
    one.overrun.add_to(all.overrun);
    one.fill.add_to(all.fill);
    one.pack_images.add_to(all.pack_images);
    one.image_tokens.add_to(all.image_tokens);
  }
  all.completed = all.latency.count();
  all.deadlines_met = all.slack.count();
  all.deadlines_missed = all.overrun.count();
  all.packs = all.pack.count();
  all.waiting = waiting();
  all.in_flight = std::max<std::int64_t>(in_flight_.load(kRelaxed), 0);
  all.broken = broken_.load(kRelaxed);
  return all;
}

std::string Recorder::stop_trace(const Labels& labels, int slots) { return chrome_trace(trace_.stop(), labels, slots); }

}  // namespace navit_edge
