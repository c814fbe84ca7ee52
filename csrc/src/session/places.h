// Who may join the images that wait: places for all, and room kept for the higher priorities.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace navit_edge {

/// Counts images that wait, and the bytes of their pixels, by priority. Lower priorities cannot fill the room of higher
/// ones: if all places are taken, an image still gets one of as many again, as long as those of its priority and
/// above have less than half of what those below leave of twice the places. So each higher priority has room of its own
/// (a half, a quarter, an eighth ... of the places), and twice the places are never exceeded. The same goes for bytes,
/// but for one image of each priority, which is let in whatever its size, as long as those below keep to the limit.
///
/// Not thread-safe. Allocates only while more priorities are about than ever before.
class Places {
 public:
  /// bytes: 0: no limit.
  Places(std::uint64_t images, std::uint64_t bytes) : most_images_(images), most_bytes_(bytes) { levels_.reserve(64); }

  [[nodiscard]] bool room_for(std::int32_t priority, std::uint64_t bytes) const noexcept;
  /// Takes a place, whether there is room or not.
  void enter(std::int32_t priority, std::uint64_t bytes);
  /// Gives a place back that was taken with the same values.
  void leave(std::int32_t priority, std::uint64_t bytes) noexcept;

  [[nodiscard]] std::uint64_t images() const noexcept { return images_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  struct Level {
    std::int32_t priority;
    std::uint64_t images;
    std::uint64_t bytes;
  };

  std::uint64_t most_images_;
  std::uint64_t most_bytes_;
  std::uint64_t images_ = 0;
  std::uint64_t bytes_ = 0;
  std::vector<Level> levels_;  // by priority, ascending; each has images
};

}  // namespace navit_edge
