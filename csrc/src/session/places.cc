#include "session/places.h"

#include <algorithm>

namespace navit_edge {
namespace {

/// Whether `more` fits, if lower priorities have `below` and the others `rest` of `most`. Without overflow: each is
/// below 2^63, as an option's range and the memory of a machine are.
bool fits(std::uint64_t more, std::uint64_t rest, std::uint64_t below, std::uint64_t most) noexcept {
  if (below + rest + more <= most) return true;
  const std::uint64_t left = 2 * most - std::min(below, 2 * most);
  return rest + more <= left - left / 2;
}

}  // namespace

bool Places::room_for(std::int32_t priority, std::uint64_t bytes) const noexcept {
  std::uint64_t images_below = 0;
  std::uint64_t bytes_below = 0;
  for (const Level& level : levels_) {
    if (level.priority >= priority) break;
    images_below += level.images;
    bytes_below += level.bytes;
  }
  if (!fits(1, images_ - images_below, images_below, most_images_)) return false;
  if (most_bytes_ == 0) return true;
  const std::uint64_t rest = bytes_ - bytes_below;
  return fits(bytes, rest, bytes_below, most_bytes_) || (rest == 0 && bytes_below <= most_bytes_);
}

void Places::enter(std::int32_t priority, std::uint64_t bytes) {
  const auto at = std::lower_bound(levels_.begin(), levels_.end(), priority,
                                   [](const Level& level, std::int32_t p) { return level.priority < p; });
  if (at != levels_.end() && at->priority == priority) {
    ++at->images;
    at->bytes += bytes;
  } else {
    levels_.insert(at, {priority, 1, bytes});
  }
  ++images_;
  bytes_ += bytes;
}

void Places::leave(std::int32_t priority, std::uint64_t bytes) noexcept {
  const auto at =
      std::find_if(levels_.begin(), levels_.end(), [&](const Level& level) { return level.priority == priority; });
  --images_;
  bytes_ -= bytes;
  at->bytes -= bytes;
  if (--at->images == 0) levels_.erase(at);
}

}  // namespace navit_edge
