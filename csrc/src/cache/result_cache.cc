#include "cache/result_cache.h"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

namespace navit_edge {
namespace {

// What malloc takes beside each piece, and what a shared pointer's counters take.
constexpr std::uint64_t kPieceBytes = 16;
constexpr std::uint64_t kCounterBytes = 32;
// Of a node of the table: its neighbour, its hash and its part of the table, which has up to two places for each.
constexpr std::uint64_t kTableBytes = 4 * sizeof(void*);

/// All outputs in one piece of memory of their own.
std::uint64_t own_outputs(Result& result) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < kWords<GraphOutput>.words.size(); ++i) {
    count += static_cast<std::size_t>(result.output(value_at<GraphOutput>(i)).count());
  }
  const std::shared_ptr<float[]> memory(new float[count]);
  float* to = memory.get();
  for (std::size_t i = 0; i < kWords<GraphOutput>.words.size(); ++i) {
    OutputView& view = result.output(value_at<GraphOutput>(i));
    if (view.empty()) continue;
    std::copy_n(view.data, view.count(), to);
    view.owner = memory;
    view.data = std::exchange(to, to + view.count());
  }
  return count * sizeof(float);
}

}  // namespace

void share_result(const Result& from, Result& to) noexcept {
  to.placement = from.placement;
  to.kept = from.kept;
  if (from.reason.step != CascadeStep::kNone || from.reason.drop.kind != DropKind::kNone) {
    to.grid = from.grid;
    to.tokens = from.tokens;
    to.total_tokens = from.total_tokens;
    to.reason = from.reason;
  }
  for (std::size_t i = 0; i < kWords<GraphOutput>.words.size(); ++i) {
    to.output(value_at<GraphOutput>(i)) = from.output(value_at<GraphOutput>(i));
  }
  to.error = from.error;
  to.cached = from.error == nullptr;
}

void ResultCache::link(Entry& entry) noexcept {
  entry.newer = nullptr;
  entry.older = newest_;
  (newest_ != nullptr ? newest_->newer : oldest_) = &entry;
  newest_ = &entry;
}

void ResultCache::unlink(Entry& entry) noexcept {
  (entry.newer != nullptr ? entry.newer->older : newest_) = entry.older;
  (entry.older != nullptr ? entry.older->newer : oldest_) = entry.newer;
}

bool ResultCache::recall(const ResultKey& key, Result& result, std::string* note) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  Entry& entry = found->second;
  if (note != nullptr) {
    *note = entry.note;
    result.image = entry.result.image;
    result.grid = entry.result.grid;
    result.tokens = entry.result.tokens;
    result.total_tokens = entry.result.total_tokens;
    result.reason = entry.result.reason;
  }
  share_result(entry.result, result);
  unlink(entry);
  link(entry);
  ++hits_;
  return true;
}

void ResultCache::remember(const ResultKey& key, const Result& result, const std::string& note) noexcept try {
  Entries made;  // a node, outside of the lock
  Entry& entry = made[key];
  entry.result = result;
  entry.result.id = entry.result.tag = 0;
  entry.note = note;
  entry.bytes = sizeof(Entries::value_type) + kTableBytes + kCounterBytes + 3 * kPieceBytes + own_outputs(entry.result);
  if (entry.result.kept != nullptr)
    entry.bytes += sizeof(KeptPatches::value_type) * entry.result.kept->size() + kPieceBytes;
  if (entry.note.capacity() > sizeof(std::string) / 2) entry.bytes += entry.note.capacity() + kPieceBytes;
  for (;;) {
    Entries::node_type gone;  // freed without the mutex
    const std::lock_guard lock(mutex_);
    if (entries_.contains(key) || entry.bytes > most_bytes_) return;
    if (bytes_ + entry.bytes <= most_bytes_) {
      const auto place = entries_.insert(made.extract(made.begin())).position;
      Entry& placed = place->second;
      placed.key = &place->first;
      link(placed);
      bytes_ += placed.bytes;
      return;
    }
    Entry& last = *oldest_;
    unlink(last);
    bytes_ -= last.bytes;
    ++evictions_;
    gone = entries_.extract(*last.key);
  }
} catch (const std::bad_alloc&) {
}

CacheMetrics ResultCache::metrics() const {
  CacheMetrics all;
  all.misses = misses_.load(std::memory_order_relaxed);
  all.coalesced = coalesced_.load(std::memory_order_relaxed);
  all.most_bytes = static_cast<std::int64_t>(most_bytes_);
  const std::lock_guard lock(mutex_);
  all.hits = hits_;
  all.evictions = evictions_;
  all.entries = static_cast<std::int64_t>(entries_.size());
  all.bytes = static_cast<std::int64_t>(bytes_);
  return all;
}

}  // namespace navit_edge
