// Compiled for the baseline, so that asking is safe anywhere.
#include "pixels/simd_level.h"

#include <cstdlib>
#include <string>
#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

std::vector<SimdLevel> levels_of_this_cpu() {
  std::vector<SimdLevel> levels{SimdLevel::kPortable};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) levels.push_back(SimdLevel::kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni")) {
    levels.push_back(SimdLevel::kAvx512);
  }
#elif defined(__aarch64__) && defined(__linux__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) levels.push_back(SimdLevel::kNeon);
#endif
  return levels;
}

SimdLevel chosen_level() {
  const char* wanted = std::getenv("NAVIT_EDGE_SIMD");
  if (wanted == nullptr || *wanted == '\0') return simd_levels().back();
  std::string known;
  for (const SimdLevel level : simd_levels()) {
    if (simd_level_name(level) == wanted) return level;
    known += (known.empty() ? "" : ", ") + std::string(simd_level_name(level));
  }
  throw InvalidInput("the environment variable NAVIT_EDGE_SIMD is '" + std::string(wanted) + "'; this CPU runs " +
                     known + "; unset it to get the fastest");
}

}  // namespace

std::string_view simd_level_name(SimdLevel level) noexcept {
  switch (level) {
    case SimdLevel::kAvx2:
      return "avx2";
    case SimdLevel::kAvx512:
      return "avx512";
    case SimdLevel::kNeon:
      return "neon";
    case SimdLevel::kPortable:
      break;
  }
  return "portable";
}

std::span<const SimdLevel> simd_levels() {
  static const std::vector<SimdLevel> levels = levels_of_this_cpu();
  return levels;
}

SimdLevel best_simd_level() {
  static const SimdLevel level = chosen_level();
  return level;
}

}  // namespace navit_edge
