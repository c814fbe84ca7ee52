#include "plan/bin_packing.h"

#include <algorithm>
#include <limits>

#include "base/index.h"
#include "plan/open_packs.h"

namespace navit_edge {
namespace {

template <class OpenPacks>
std::vector<PackPlan> pack_into_open(ImageOrder order, TokenCounts tokens, const Budget& budget) {
  const std::int32_t limit = fill_limit(budget);
  std::vector<PackPlan> packs;
  OpenPacks open(order.size());
  for (const std::int32_t image : order) {
    const std::int32_t need = tokens[index(image)];
    std::size_t at = open.find(need);
    if (at == kNoPack) {
      at = packs.size();
      packs.emplace_back();
    }
    PackPlan& pack = packs[at];
    append(pack, image, need);
    const bool full = static_cast<std::int64_t>(pack.images.size()) >= budget.images;
    open.set(at, full ? 0 : std::max(0, limit - pack.tokens));
  }
  return packs;
}

}  // namespace

std::int32_t fill_limit(const Budget& budget) noexcept {
  return budget.target_tokens > 0 ? std::min(budget.target_tokens, budget.tokens) : budget.tokens;
}

void append(PackPlan& pack, std::int32_t image, std::int32_t tokens) {
  pack.images.push_back(image);
  pack.tokens += tokens;
  pack.longest = std::max(pack.longest, tokens);
  pack.squares += std::int64_t{tokens} * tokens;
}

std::vector<PackPlan> first_fit(ImageOrder order, TokenCounts tokens, const Budget& budget) {
  return pack_into_open<FirstOpenPack>(order, tokens, budget);
}

std::vector<PackPlan> best_fit(ImageOrder order, TokenCounts tokens, const Budget& budget) {
  return pack_into_open<FullestOpenPack>(order, tokens, budget);
}

std::vector<PackPlan> next_fit(ImageOrder order, TokenCounts tokens, const Budget& budget) {
  const std::int32_t limit = fill_limit(budget);
  std::vector<PackPlan> packs;
  for (const std::int32_t image : order) {
    const std::int32_t need = tokens[index(image)];
    if (packs.empty() || std::int64_t{packs.back().tokens} + need > limit ||
        static_cast<std::int64_t>(packs.back().images.size()) >= budget.images) {
      packs.emplace_back();
    }
    append(packs.back(), image, need);
  }
  return packs;
}

std::vector<PackPlan> best_cut(ImageOrder order, TokenCounts tokens, const Budget& budget, std::size_t budget_index,
                               const CostModel& cost) {
  const std::int32_t limit = fill_limit(budget);
  const std::size_t count = order.size();
  std::vector<double> least(count + 1, std::numeric_limits<double>::infinity());  // of the first j images
  std::vector<std::size_t> begin(count + 1, 0);                                   // of the pack that ends before j
  least[0] = 0;
  for (std::size_t first = 0; first < count; ++first) {
    PackShape pack;
    for (std::size_t end = first + 1; end <= count; ++end) {
      const std::int64_t need = tokens[index(order[end - 1])];
      pack.tokens += need;
      if (end > first + 1 && (pack.tokens > limit || pack.images >= budget.images)) break;
      pack.images += 1;
      pack.longest = std::max(pack.longest, need);
      pack.squares += need * need;
      const double time = least[first] + cost.pack_us(budget_index, budget.tokens, pack);
      if (time < least[end]) {
        least[end] = time;
        begin[end] = first;
      }
    }
  }
  std::vector<PackPlan> packs;
  for (std::size_t end = count; end > 0; end = begin[end]) {
    packs.emplace_back();
    for (std::size_t i = begin[end]; i < end; ++i) append(packs.back(), order[i], tokens[index(order[i])]);
  }
  std::reverse(packs.begin(), packs.end());
  return packs;
}

}  // namespace navit_edge
