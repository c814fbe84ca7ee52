#include "navit_edge/drop.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <variant>

#include "navit_edge/choice.h"
#include "navit_edge/error.h"
#include "sizing/checked.h"

namespace navit_edge {
namespace {

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t seed) noexcept : state_(seed) {}
  std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  /// Below `limit`, which is far below 2^64: no number is noticeably more frequent.
  std::int64_t below(std::int64_t limit) noexcept {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(limit));
  }

 private:
  std::uint64_t state_;
};

KeptPatches random_patches(const DropOptions& options, Grid grid) {
  KeptPatches patches(static_cast<std::size_t>(grid.tokens()));
  std::iota(patches.begin(), patches.end(), 0);
  const std::int64_t all = grid.tokens();
  const std::int64_t kept = kept_count(all, options.keep);
  SplitMix random(options.seed ^ (static_cast<std::uint64_t>(grid.rows) << 32 | static_cast<std::uint32_t>(grid.cols)));
  for (std::int64_t i = 0; i < kept; ++i) {
    std::swap(patches[static_cast<std::size_t>(i)], patches[static_cast<std::size_t>(i + random.below(all - i))]);
  }
  patches.resize(static_cast<std::size_t>(kept));
  std::sort(patches.begin(), patches.end());
  return patches;
}

/// An image has at least one patch: if none is to stay, the first does.
KeptPatches masked_patches(std::span<const std::uint8_t> keep) {
  KeptPatches patches;
  for (std::size_t i = 0; i < keep.size(); ++i) {
    if (keep[i] != 0) patches.push_back(static_cast<std::int32_t>(i));
  }
  if (patches.empty()) patches.push_back(0);
  return patches;
}

std::string sides(Grid grid) { return std::to_string(grid.rows) + " x " + std::to_string(grid.cols); }

KeptPatches chosen_patches(const Policy& policy, Grid grid, const ImageView* pixels) {
  if (policy.drop_options().kind == DropKind::kRandom) return random_patches(policy.drop_options(), grid);
  if (const PatchMask* mask = policy.mask(); mask != nullptr) {
    if (mask->grid == grid) return masked_patches(mask->keep);
    throw InvalidInput(
        "the mask of patches to keep has " + sides(mask->grid) +
        " patches (rows x columns); the image gets a grid of " + sides(grid) +
        "; make the mask for that grid, which `navit-edge plan` shows, or give a function that makes it");
  }
  if (pixels == nullptr) {
    throw InvalidInput("policy " + policy.to_string() +
                       ": the function that chooses patches needs the image, and only its size was given; give the "
                       "image");
  }
  std::vector<std::uint8_t> keep(static_cast<std::size_t>(grid.tokens()), 1);
  (*policy.chooser())(*pixels, grid, keep);
  return masked_patches(keep);
}

/// Patches a side of the cells that the rule makes its grids of.
std::int32_t cell_side(const SizingRule& rule) {
  return std::visit(
      [](const auto& one) -> std::int32_t {
        if constexpr (requires { one.merge; }) {
          return std::max(1, one.merge);
        } else {
          return 1;
        }
      },
      rule);
}

}  // namespace

std::int64_t kept_count(std::int64_t patches, double keep) noexcept {
  const std::int64_t kept = keep < 1 ? std::llround(keep * static_cast<double>(patches)) : patches;
  return std::max<std::int64_t>(kept, 1);
}

void drop_patches(const Policy& policy, const ImageView* pixels, Choice& choice) {
  if (!policy.drops()) return;
  const std::int64_t all = choice.grid.tokens();
  if (policy.drop_options().kind != DropKind::kBlank) {
    auto patches = std::make_shared<const KeptPatches>(chosen_patches(policy, choice.grid, pixels));
    if (static_cast<std::int64_t>(patches->size()) < all) choice.kept = std::move(patches);
  }
  choice.reason.drop = policy.drop_options();
  choice.reason.kept_patches = choice.patches();
  choice.reason.of_patches = all;
}

void check_drop(const Policy& policy, const PreprocessSpec& preprocess, const ModelSpec& model) {
  if (!policy.drops()) return;
  const std::int32_t side = std::max(model.block_side(), cell_side(preprocess.sizing.rule));
  std::string why;
  if (side > 1) {
    why = "merges cells of " + std::to_string(side) + " x " + std::to_string(side) +
          " patches, which its graph finds by their place in the whole grid";
  } else if (preprocess.frames > 1) {
    why = "takes frames of a film in pairs, which are dropped together or not at all";
  } else if (model.merging.has_value()) {
    why = "merges similar tokens inside (--merge), which is laid out for whole grids";
  }
  if (why.empty()) return;
  throw InvalidInput("policy " + policy.to_string() + ": the model (" + model.family + ") " + why +
                     ", so that patches cannot be left out yet; take a policy that does not drop any");
}

}  // namespace navit_edge
