#include "plan/two_streams.h"

#include <algorithm>
#include <numeric>

namespace navit_edge {
namespace {

template <class Cost>
std::size_t paired_packs(std::span<const Cost> tokens) noexcept {
  // Time in tokens per core; a stream of half the cores takes 2 per token.
  double alone = kOneStreamCost * std::accumulate(tokens.begin(), tokens.end(), 0.0);
  double best = alone;
  std::size_t best_packs = 0;
  double busy[2] = {0.0, 0.0};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    *std::min_element(busy, busy + 2) += 2.0 * static_cast<double>(tokens[i]);
    alone -= kOneStreamCost * static_cast<double>(tokens[i]);
    const double time = std::max(busy[0], busy[1]) + alone;
    if (i > 0 && time <= best) {
      best = time;
      best_packs = i + 1;
    }
  }
  return best_packs;
}

}  // namespace

std::size_t packs_on_two_streams(std::span<const std::int32_t> tokens) noexcept { return paired_packs(tokens); }
std::size_t packs_on_two_streams(std::span<const double> times) noexcept { return paired_packs(times); }

}  // namespace navit_edge
