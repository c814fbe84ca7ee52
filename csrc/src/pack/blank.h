// Blank patches: which of an image's stay.
#pragma once

#include <cstdint>
#include <span>

#include "navit_edge/drop.h"

namespace navit_edge {

/// The patches that are not blank, and those around them: a blank patch goes if its neighbours, the diagonal ones too,
/// are all blank. `blank` [rows * cols]. If all would go, the first stays.
KeptPatches kept_beside_blank(std::span<const std::uint8_t> blank, Grid grid);

}  // namespace navit_edge
