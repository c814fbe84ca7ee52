#include "plan/pair_fill.h"

#include <algorithm>
#include <cstddef>

#include "base/index.h"

namespace navit_edge {
namespace {

/// Images that are not packed yet, by length.
class ImagesByLength {
 public:
  ImagesByLength(ImageOrder decreasing, TokenCounts tokens) : order_(decreasing), left_(decreasing.size()) {
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const std::int32_t length = tokens[index(order_[i])];
      if (groups_.empty() || groups_.back().length != length) groups_.push_back({length, i, i});
      groups_.back().end = i + 1;
    }
  }

  struct Choice {
    std::size_t first = 0;
    std::size_t second = 0;  // = none if there is one image
    std::int32_t tokens = 0;
  };
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  [[nodiscard]] bool empty() const noexcept { return left_ == 0; }
  [[nodiscard]] std::int32_t length(std::size_t group) const { return groups_[group].length; }
  [[nodiscard]] std::int32_t shortest() const { return groups_.back().length; }

  /// The group of the longest image of at most `room` tokens, or none.
  [[nodiscard]] std::size_t longest(std::int32_t room) const {
    const auto found = std::partition_point(groups_.begin(), groups_.end(),
                                            [&](const LengthGroup& group) { return group.length > room; });
    return found == groups_.end() ? none : static_cast<std::size_t>(found - groups_.begin());
  }

  /// The two images that fill `room` most, besides one of group `taken`, in time proportional to the number of lengths.
  [[nodiscard]] Choice best_pair(std::int32_t room, std::size_t taken = none) const {
    const auto left = [&](std::size_t group) {
      return groups_[group].end - groups_[group].next - (group == taken ? 1 : 0);
    };
    Choice best{none, none, 0};
    std::size_t i = longest(room - shortest());
    if (i == none) return best;
    for (std::size_t j = groups_.size(); j-- > i;) {
      while (i < j && groups_[i].length + groups_[j].length > room) ++i;
      const std::int32_t sum = groups_[i].length + groups_[j].length;
      const bool there = i != j ? left(i) >= 1 && left(j) >= 1 : left(i) >= 2;
      if (there && sum <= room && sum >= best.tokens) best = {i, j, sum};
    }
    return best;
  }

  /// Group numbers above `group` change if that was its last image.
  std::int32_t take(std::size_t group) {
    --left_;
    const std::int32_t image = order_[groups_[group].next++];
    if (groups_[group].next == groups_[group].end) groups_.erase(groups_.begin() + std::ptrdiff_t(group));
    return image;
  }

 private:
  struct LengthGroup {
    std::int32_t length;
    std::size_t next, end;  // of order_
  };
  ImageOrder order_;
  std::vector<LengthGroup> groups_;  // the longest first, none empty
  std::size_t left_;
};

}  // namespace

std::vector<PackPlan> pair_fill(ImageOrder decreasing, TokenCounts tokens, const Budget& budget) {
  const std::int32_t limit = fill_limit(budget);
  std::vector<PackPlan> packs;
  ImagesByLength left(decreasing, tokens);
  while (!left.empty()) {
    PackPlan& pack = packs.emplace_back();
    std::int32_t room = limit;
    const auto take = [&](std::size_t group) {
      const std::int32_t length = left.length(group);
      append(pack, left.take(group), length);
      room -= length;
    };
    take(0);
    while (!left.empty() && room >= left.shortest()) {
      const std::int64_t places = budget.images - std::ssize(pack.images);
      const std::size_t single = left.longest(room);
      if (places < 1 || single == ImagesByLength::none) break;
      const std::int32_t after = room - left.length(single);
      ImagesByLength::Choice pair{ImagesByLength::none, ImagesByLength::none, 0};
      // Two images cannot fill more than twice the longest: until then the longest is as good as any.
      if (places >= 2 && after > 0 && room <= 2 * left.length(single)) pair = left.best_pair(room);
      const bool last = places == 1 || after < left.shortest();
      if (pair.tokens == room || (last && pair.tokens > left.length(single))) {
        take(pair.second);  // first: it may renumber what lies above it
        take(pair.first);
        std::iter_swap(pack.images.end() - 2, pack.images.end() - 1);
      } else {
        take(single);
      }
    }
  }
  return packs;
}

}  // namespace navit_edge
