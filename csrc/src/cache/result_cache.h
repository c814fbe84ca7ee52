// Results that a session remembers, the least recently asked for leaving first.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>

#include "cache/result_key.h"
#include "navit_edge/metrics.h"
#include "navit_edge/result.h"

namespace navit_edge {

struct ResultKeyHash {  // a digest is spread evenly
  std::size_t operator()(const ResultKey& key) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, key.data(), sizeof(value));
    return value;
  }
};

/// Bounded by bytes: those of the outputs and all that is kept beside them. Thread-safe; no call holds up another for
/// longer than a look into a table.
class ResultCache {
 public:
  explicit ResultCache(std::uint64_t most_bytes) : most_bytes_(most_bytes) {}
  ResultCache(const ResultCache&) = delete;
  ResultCache& operator=(const ResultCache&) = delete;

  /// Outputs and placement of what was remembered into `result`, with `cached` set; false if there is none. The outputs
  /// live as long as the result, whatever becomes of the cache. With `note` also all that depends on the image and its
  /// policy alone, and what was noted: for who has no pixels.
  bool recall(const ResultKey& key, Result& result, std::string* note = nullptr);

  /// Copies the outputs of `result`, which has no error. Of two results of one key the first stays. What is larger than
  /// the cache, or finds no memory, is not remembered.
  void remember(const ResultKey& key, const Result& result, const std::string& note) noexcept;

  /// An image that has to be computed; one that waits for another's result.
  void count_miss() noexcept { ++misses_; }
  void count_coalesced() noexcept { ++coalesced_; }
  [[nodiscard]] CacheMetrics metrics() const;

 private:
  struct Entry {
    Result result;
    std::string note;
    std::uint64_t bytes = 0;
    const ResultKey* key = nullptr;
    Entry* newer = nullptr;
    Entry* older = nullptr;
  };
  using Entries = std::unordered_map<ResultKey, Entry, ResultKeyHash>;

  void link(Entry& entry) noexcept;
  void unlink(Entry& entry) noexcept;

  const std::uint64_t most_bytes_;
  mutable std::mutex mutex_;
  Entries entries_;
  Entry* newest_ = nullptr;
  Entry* oldest_ = nullptr;
  std::uint64_t bytes_ = 0;  // of the entries
  std::uint64_t hits_ = 0;
  std::uint64_t evictions_ = 0;
  std::atomic<std::uint64_t> misses_{0};
  std::atomic<std::uint64_t> coalesced_{0};
};

/// What a result that was computed for another image of the same content shares with it. `to` keeps what is its own;
/// of a cascade, and where patches were dropped, also grid, tokens and reason are what the other's result has.
void share_result(const Result& from, Result& to) noexcept;

}  // namespace navit_edge
