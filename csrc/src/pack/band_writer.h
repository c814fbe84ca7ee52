// Some patch rows of an image: resized or moved, and written patch by patch.
#pragma once

#include <cstdint>

#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/pack.h"
#include "pack/scratch.h"

namespace navit_edge {

/// Where the patches of an image go, and what is to be found out about them meanwhile.
struct PatchTarget {
  std::uint8_t* first_patch = nullptr;   // the patches that stay lie one behind another from here on
  const std::int32_t* places = nullptr;  // [rows * cols] how many stay before it; -1: it goes. Null: all stay
  std::uint8_t* blank = nullptr;         // [rows * cols] becomes 1 where a patch is blank, else 0. Null: not asked for
  std::int32_t blank_range = 0;          // DropOptions::range
};

/// Writes the patch rows of `band` of the image that `segment` has. Bands of one image may be written at once, each
/// with a scratch of its own.
void write_band(const Band& band, const ImageView& image, const Segment& segment, const PreprocessSpec& preprocess,
                const PatchTarget& target, WorkerScratch& scratch);

}  // namespace navit_edge
