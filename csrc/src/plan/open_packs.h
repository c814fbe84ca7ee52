// Which open pack has room: the two answers that bin packing asks for, each in O(log packs).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>
#include <vector>

namespace navit_edge {

inline constexpr std::size_t kNoPack = std::numeric_limits<std::size_t>::max();

/// Free tokens of every pack, as a tree of maxima: finds the first pack with room.
class FirstOpenPack {
 public:
  explicit FirstOpenPack(std::size_t most_packs) : leaves_(std::bit_ceil(std::max<std::size_t>(most_packs, 1))) {
    free_.assign(2 * leaves_, 0);
  }

  void set(std::size_t pack, std::int32_t free) {
    std::size_t node = leaves_ + pack;
    free_[node] = free;
    for (node /= 2; node >= 1; node /= 2) free_[node] = std::max(free_[2 * node], free_[2 * node + 1]);
  }

  /// The lowest pack with `tokens` free, or kNoPack.
  [[nodiscard]] std::size_t find(std::int32_t tokens) const {
    if (free_[1] < tokens) return kNoPack;
    std::size_t node = 1;
    while (node < leaves_) node = free_[2 * node] >= tokens ? 2 * node : 2 * node + 1;
    return node - leaves_;
  }

 private:
  std::size_t leaves_;
  std::vector<std::int32_t> free_;  // [2 * leaves], node i over nodes 2i and 2i+1
};

/// Open packs in the order of their free tokens: finds the fullest that still has room.
class FullestOpenPack {
 public:
  explicit FullestOpenPack(std::size_t most_packs) { free_.reserve(most_packs); }

  void set(std::size_t pack, std::int32_t free) {
    if (pack == free_.size()) {
      free_.push_back(0);
    } else if (free_[pack] > 0) {
      open_.erase({free_[pack], pack});
    }
    free_[pack] = free;
    if (free > 0) open_.emplace(free, pack);
  }

  /// Of the packs with `tokens` free the one with the least; of equals the lowest. Or kNoPack.
  [[nodiscard]] std::size_t find(std::int32_t tokens) const {
    const auto found = open_.lower_bound({tokens, 0});
    return found == open_.end() ? kNoPack : found->second;
  }

 private:
  std::vector<std::int32_t> free_;
  std::set<std::pair<std::int32_t, std::size_t>> open_;
};

}  // namespace navit_edge
