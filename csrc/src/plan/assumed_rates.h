// How fast a device is assumed to compute until it has been measured.
#pragma once

#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// What counts of a CPU's instructions.
struct CpuFeatures {
  bool avx2 = false;
  bool avx512 = false;
  bool vnni = false;  // products of 8-bit numbers: AVX-512 VNNI or AVX-VNNI
  bool bf16 = false;  // AVX512-BF16, or Arm's
  bool amx = false;   // tiles of bf16 and 8-bit numbers
  bool dot = false;   // Arm's products of 8-bit numbers
  bool arm = false;
};

/// Of the CPU that this runs on.
[[nodiscard]] CpuFeatures cpu_features() noexcept;

/// Linear layers in one core, in GFLOP/s as engines reach it, not as a data sheet has it (docs/planning.md says what
/// was measured and what follows from that by ratio).
[[nodiscard]] double core_gflops(Precision precision, const CpuFeatures& cpu) noexcept;

/// How much slower a GPU is in this precision than in 16 bits.
[[nodiscard]] double gpu_slowness(Precision precision) noexcept;

}  // namespace navit_edge
