// What write_pack needs besides its inputs and outputs: set aside when a session opens, kept from pack to pack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "navit_edge/manifest.h"
#include "navit_edge/pack.h"
#include "pixels/pad_crop.h"
#include "pixels/resizer.h"

namespace navit_edge {

/// Some patch rows of one image: a unit of work. Bands of an image share no byte of the output.
struct Band {
  std::size_t segment = 0;
  std::int32_t row_begin = 0;  // patch rows
  std::int32_t row_end = 0;
};

/// Most bands of a pack of `images` that `threads` write: each image one, and four a thread for what is cut.
inline std::size_t most_bands(std::int32_t images, int threads) noexcept {
  return static_cast<std::size_t>(images) + 4 * static_cast<std::size_t>(threads);
}

/// What one of the threads needs that write a pack.
struct WorkerScratch {
  Resizer resizer;
  PadCropRows pad_crop;
  std::vector<std::uint8_t> three;  // a gray row, each value three times
};

/// One pack at a time; each worker has its own.
struct PackScratch {
  std::vector<Band> bands;
  std::vector<WorkerScratch> workers;  // [threads]

  // Only of a pack from which patches are dropped.
  std::vector<std::size_t> first_on_grids;  // [segments] patches on the grids before
  std::vector<std::int32_t> places;         // [patches on all grids] PatchTarget::places
  std::vector<std::uint8_t> blank;          // [patches on all grids] PatchTarget::blank
};

/// The photograph that memory is set aside for: up to this many pixels a side. A larger one is taken as well; what it
/// needs beyond this is allocated when it first comes, and kept.
inline constexpr std::int32_t kReservedSidePx = 4096;

/// Sets memory aside, so that write_pack with up to `threads` threads allocates nothing for packs of `budget` made of
/// photographs as above with sides of up to 4 : 1. Docs/memory.md has the formula.
void reserve_scratch(PackScratch& scratch, const Budget& budget, const PreprocessSpec& preprocess, int threads);

/// Bytes of all its buffers.
std::size_t scratch_bytes(const PackScratch& scratch) noexcept;

}  // namespace navit_edge
