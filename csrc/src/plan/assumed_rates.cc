#include "plan/assumed_rates.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

namespace navit_edge {
namespace {

constexpr double kAvx512Bf16 = 150;  // measured, two threads of a core counted as two
constexpr double kAvx512 = 90;       // the same in float32: 0.6 times as fast

#if defined(__x86_64__)
/// Bits of CPUID leaf 7 that not every compiler has a name for.
struct Leaf7 {
  unsigned edx0 = 0;
  unsigned eax1 = 0;
};

Leaf7 leaf7() noexcept {
  Leaf7 found;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) found.edx0 = edx;
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) found.eax1 = eax;
  return found;
}
#endif

}  // namespace

CpuFeatures cpu_features() noexcept {
  CpuFeatures cpu;
#if defined(__x86_64__)
  const Leaf7 bits = leaf7();
  cpu.avx2 = __builtin_cpu_supports("avx2") != 0;
  cpu.avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  cpu.vnni = (cpu.avx512 && __builtin_cpu_supports("avx512vnni") != 0) || (cpu.avx2 && (bits.eax1 >> 4 & 1U) != 0);
  cpu.bf16 = cpu.avx512 && (bits.eax1 >> 5 & 1U) != 0;
  cpu.amx = cpu.avx512 && (bits.edx0 >> 22 & 1U) != 0 && (bits.edx0 >> 24 & 1U) != 0;
#elif defined(__aarch64__)
  cpu.arm = true;
#if defined(__linux__)
  cpu.dot = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#if defined(HWCAP2_BF16)
  cpu.bf16 = (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#endif
#endif
#endif
  return cpu;
}

double core_gflops(Precision precision, const CpuFeatures& cpu) noexcept {
  const bool eight_bits = precision == Precision::kInt8 || precision == Precision::kFp8;
  const bool sixteen_bits = precision == Precision::kBf16 || precision == Precision::kFp16;
  if (cpu.arm) {
    const double fp32 = 16;
    if (eight_bits && cpu.dot) return 2 * fp32;
    return sixteen_bits ? (cpu.bf16 ? 2.5 : 1.5) * fp32 : fp32;
  }
  const double fp32 = cpu.avx512 ? kAvx512 : cpu.avx2 ? kAvx512 / 2 : kAvx512 / 8;
  if (cpu.amx && sixteen_bits) return 4 * kAvx512Bf16;
  if (cpu.amx && eight_bits) return 5 * kAvx512Bf16;
  if (eight_bits && cpu.vnni) return 5.0 / 3 * fp32;
  return sixteen_bits && cpu.bf16 ? kAvx512Bf16 : fp32;
}

double gpu_slowness(Precision precision) noexcept {
  switch (precision) {
    case Precision::kFp32:
      return 2;  // as TF32
    case Precision::kInt8:
    case Precision::kFp8:
      return 0.7;
    case Precision::kFp16:
    case Precision::kBf16:
      break;
  }
  return 1;
}

}  // namespace navit_edge
