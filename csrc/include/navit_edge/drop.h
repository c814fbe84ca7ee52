// Which patches of an image are left out before the model sees it: token dropping (docs/tokens.md).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "navit_edge/cxx20.h"
#include "navit_edge/image.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// How the patches are chosen.
enum class DropKind : std::uint8_t {
  kNone,    // all stay
  kRandom,  // a share of the grid stays, the same patches for every image on that grid
  kBlank,   // patches without contrast go, if those around them have none either
  kMask,    // a mask says which stay
  kChosen,  // a function of the caller's does
};

struct DropOptions {
  DropKind kind = DropKind::kNone;
  double keep = 0.5;        // random: the share of the patches that stays, in (0, 1]
  std::uint64_t seed = 0;   // random: another one, other patches
  std::int32_t range = 16;  // blank: most that two values of a channel differ by within a patch, 0 to 255
  friend bool operator==(const DropOptions&, const DropOptions&) = default;
};

/// Which patches of the images on one grid stay.
struct PatchMask {
  Grid grid;
  std::vector<std::uint8_t> keep;  // [rows * cols], row-major; 0: the patch goes
};

/// Says for one image which patches stay: fills `keep` [rows * cols], row-major, which is all 1 before. Called by the
/// thread that gives the image, perhaps by several at once, outside of all locks. What it throws fails the image, if it
/// is an Error; the call, if it is not.
using PatchChooser = std::function<void(const ImageView& image, Grid grid, std::span<std::uint8_t> keep)>;

/// The patches of an image that stay, by their numbers on its grid, row-major, ascending. At least one.
using KeptPatches = std::vector<std::int32_t>;

/// How many of `patches` stay: at least one.
NAVIT_EDGE_API std::int64_t kept_count(std::int64_t patches, double keep) noexcept;

}  // namespace navit_edge
