// Which instruction sets this CPU runs.
#pragma once

#include <span>
#include <string_view>

namespace navit_edge {

enum class SimdLevel { kPortable, kAvx2, kAvx512, kNeon };

std::string_view simd_level_name(SimdLevel level) noexcept;

/// The levels this CPU runs, the narrowest first.
std::span<const SimdLevel> simd_levels();

/// The widest level this CPU runs, or the one that the environment variable NAVIT_EDGE_SIMD names ("portable", "avx2",
/// "avx512", "neon"). Throws InvalidInput if that is not one of simd_levels().
SimdLevel best_simd_level();

}  // namespace navit_edge
