// What a stream holds: its images by the number of their push, from `push` until they are handed out or dropped.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory_resource>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "navit_edge/stream.h"
#include "stream/still_frames.h"

namespace navit_edge {

/// Shared by the stream and the callbacks of its images, which may outlive it. All is guarded by `mutex`; no call into
/// the session is made while it is held, since the session calls back. Hidden: else its functions would leave the
/// library.
struct [[gnu::visibility("hidden")]] Stream::State {
  struct Entry {
    enum class Phase { kSubmitting, kWaiting, kBegun, kGivingWay, kDone };
    Phase phase = Phase::kSubmitting;
    std::uint64_t id = 0;  // the session's; from kWaiting on
    std::uint64_t tag = 0;
    std::size_t bytes = 0;  // of pixels that are still needed
    bool complete = false;  // `result` is there
    Result result;
    std::uint64_t push = 0;
    Entry* behind = nullptr;  // completed after it; of a stream that is not ordered
  };

  State(StreamOptions o, std::size_t most, const PreprocessSpec& preprocess) : options(std::move(o)), capacity(most) {
    if (options.still) still.emplace(*options.still, preprocess);
  }

  [[nodiscard]] bool ended() const { return finished || cancelled; }
  [[nodiscard]] bool full(std::size_t bytes) const;

  /// Whether a result may be handed out now.
  [[nodiscard]] bool ready() const;
  /// Nothing will be handed out any more.
  [[nodiscard]] bool over() const { return cancelled || (finished && entries.empty()); }
  Result take();  // if ready()

  /// The session's callback: the result of push number `push`.
  void complete(std::uint64_t push, Result&& result);
  /// The image leaves without a result; false if it had left before.
  bool forget(std::uint64_t push);

  /// Waits for room, or makes it, as the drop policy says; then takes the place of the next push.
  Pushed admit(Session& session, std::size_t more, std::uint64_t tag, std::uint64_t& push);
  /// Makes the oldest give way, its tag added to `tags`; false if nothing could. Releases `lock` meanwhile.
  bool drop_oldest(Session& session, std::unique_lock<std::mutex>& lock, std::vector<std::uint64_t>& tags);
  void report(Session& session, const std::vector<std::uint64_t>& tags) const;

  const StreamOptions options;
  const std::size_t capacity;
  std::optional<StillFrames> still;  // has a mutex of its own

  mutable std::mutex mutex;
  std::condition_variable space;      // for `push`
  std::condition_variable available;  // for `pop`
  std::uint64_t pushes = 0;
  std::uint64_t dropped = 0;
  std::size_t bytes = 0;  // of all entries
  bool finished = false;
  bool cancelled = false;
  std::pmr::unsynchronized_pool_resource memory;  // nodes are used again: no allocation once the stream has filled up
  std::pmr::map<std::uint64_t, Entry> entries{&memory};
  std::pmr::set<std::uint64_t> waiting{&memory};  // pushes that may be cancelled
  // Done, as they were completed, of a stream that is not ordered: a list through the entries, so that completing one
  // needs no memory.
  Entry* first_done = nullptr;
  Entry* last_done = nullptr;

  void unlink_done(Entry& entry) noexcept;
  void settle(std::uint64_t push, Entry& entry);
};

}  // namespace navit_edge
