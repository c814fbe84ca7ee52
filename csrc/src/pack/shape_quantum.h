// To what T and L of a pack are rounded up if the engine takes any: so that shapes repeat.
#pragma once

#include <cstdint>

#include "navit_edge/manifest.h"

namespace navit_edge {

inline constexpr std::int32_t kShapeQuantum = 16;  // the default: docs/memory.md has the measurement

/// The option `shape_quantum` of `engine`, or the default; 1 for an engine of fixed T. Throws InvalidInput.
std::int32_t shape_quantum(const EngineSpec& engine);

/// `value` rounded up to a multiple of `quantum`, but not above `most`, which is no less than `value`.
constexpr std::int32_t rounded_up(std::int32_t value, std::int32_t quantum, std::int32_t most) noexcept {
  const std::int32_t over = value % quantum;
  if (over == 0 || value >= most) return value;
  return most - value < quantum - over ? most : value + quantum - over;
}

}  // namespace navit_edge
