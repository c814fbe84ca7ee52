#include <algorithm>
#include <cstddef>

#include "plan/bin_packing.h"

namespace navit_edge {
namespace {

std::size_t index(std::int32_t i) { return static_cast<std::size_t>(i); }

/// Images that are not packed yet, by length.
class Shelves {
 public:
  Shelves(ImageOrder decreasing, TokenCounts tokens) : order_(decreasing), left_(decreasing.size()) {
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const std::int32_t length = tokens[index(order_[i])];
      if (shelves_.empty() || shelves_.back().length != length) shelves_.push_back({length, i, i});
      shelves_.back().end = i + 1;
    }
  }

  struct Choice {
    std::size_t first = 0;
    std::size_t second = 0;  // = none where there is one image
    std::int32_t tokens = 0;
  };
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  [[nodiscard]] bool empty() const noexcept { return left_ == 0; }
  [[nodiscard]] std::int32_t length(std::size_t shelf) const { return shelves_[shelf].length; }
  [[nodiscard]] std::int32_t shortest() const { return shelves_.back().length; }

  /// The shelf of the longest image of at most `room` tokens, or none.
  [[nodiscard]] std::size_t longest(std::int32_t room) const {
    const auto found =
        std::partition_point(shelves_.begin(), shelves_.end(), [&](const Shelf& shelf) { return shelf.length > room; });
    return found == shelves_.end() ? none : static_cast<std::size_t>(found - shelves_.begin());
  }

  /// The two images that fill `room` most, besides one of shelf `taken`, in time proportional to the number of lengths.
  [[nodiscard]] Choice best_pair(std::int32_t room, std::size_t taken = none) const {
    const auto left = [&](std::size_t shelf) {
      return shelves_[shelf].end - shelves_[shelf].next - (shelf == taken ? 1 : 0);
    };
    Choice best{none, none, 0};
    std::size_t i = longest(room - shortest());
    if (i == none) return best;
    for (std::size_t j = shelves_.size(); j-- > i;) {
      while (i < j && shelves_[i].length + shelves_[j].length > room) ++i;
      const std::int32_t sum = shelves_[i].length + shelves_[j].length;
      const bool there = i != j ? left(i) >= 1 && left(j) >= 1 : left(i) >= 2;
      if (there && sum <= room && sum >= best.tokens) best = {i, j, sum};
    }
    return best;
  }

  /// Shelf numbers above `shelf` change where that was its last image.
  std::int32_t take(std::size_t shelf) {
    --left_;
    const std::int32_t image = order_[shelves_[shelf].next++];
    if (shelves_[shelf].next == shelves_[shelf].end) shelves_.erase(shelves_.begin() + std::ptrdiff_t(shelf));
    return image;
  }

 private:
  struct Shelf {
    std::int32_t length;
    std::size_t next, end;  // of order_
  };
  ImageOrder order_;
  std::vector<Shelf> shelves_;  // the longest first, none empty
  std::size_t left_;
};

}  // namespace

std::vector<PackPlan> tight_fit(ImageOrder decreasing, TokenCounts tokens, const Budget& budget) {
  const std::int32_t limit = fill_limit(budget);
  std::vector<PackPlan> packs;
  Shelves shelves(decreasing, tokens);
  while (!shelves.empty()) {
    PackPlan& pack = packs.emplace_back();
    std::int32_t room = limit;
    const auto take = [&](std::size_t shelf) {
      const std::int32_t length = shelves.length(shelf);
      append(pack, shelves.take(shelf), length);
      room -= length;
    };
    take(0);
    while (!shelves.empty() && room >= shelves.shortest()) {
      const std::int64_t places = budget.images - std::ssize(pack.images);
      const std::size_t single = shelves.longest(room);
      if (places < 1 || single == Shelves::none) break;
      const std::int32_t after = room - shelves.length(single);
      Shelves::Choice pair{Shelves::none, Shelves::none, 0};
      // Two images cannot fill more than twice the longest: until then the longest is as good as any.
      if (places >= 2 && after > 0 && room <= 2 * shelves.length(single)) pair = shelves.best_pair(room);
      const bool last = places == 1 || after < shelves.shortest();
      if (pair.tokens == room || (last && pair.tokens > shelves.length(single))) {
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
