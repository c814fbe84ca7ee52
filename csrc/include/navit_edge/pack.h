// Packing: pixels and a plan become graph inputs, in one pass, on many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "navit_edge/drop.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/placement.h"
#include "navit_edge/plan.h"
#include "navit_edge/resize.h"  // IWYU pragma: export
#include "navit_edge/sizing.h"  // IWYU pragma: export
#include "navit_edge/tensor.h"  // IWYU pragma: export
#include "navit_edge/types.h"

namespace navit_edge {

/// One image of a pack: where it lies.
struct Segment {
  std::int32_t image = 0;        // index into the caller's images
  std::int32_t first_token = 0;  // row of its first token (a prefix token, if the model has any)
  Grid grid;
  Placement placement{};                      // how the image's pixels come onto the grid
  std::shared_ptr<const KeptPatches> kept{};  // the patches that it has; null: all of the grid
  [[nodiscard]] std::int64_t patches() const noexcept {
    return kept != nullptr ? static_cast<std::int64_t>(kept->size()) : grid.tokens();
  }
};

struct PackScratch;

/// The inputs of one pass, ready for the engine, and the segments needed to take results apart.
struct Pack {
  std::vector<HostTensor> inputs;  // in the order of GraphSpec::inputs
  std::vector<Segment> segments;   // [images of the pack], in pack order
  std::int32_t images = 0;         // N as the graph sees it (>= segments.size() if N is padded)
  std::int32_t tokens = 0;         // T as the graph sees it, padding included
  std::int32_t used_tokens = 0;
  std::int32_t longest = 0;  // L as the graph sees it
  /// What a PackWriter resizes with, kept for the next pack. Packs may share one if they are never written at once.
  std::shared_ptr<PackScratch> scratch;
};

}  // namespace navit_edge
