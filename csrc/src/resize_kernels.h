// The inner loops of resize.cc, compiled once for each instruction set. All levels give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace navit_edge {

inline constexpr int kChannels = 3;
inline constexpr int kBlockRows = 16;   // rows that the horizontal pass treats at once, one a vector lane
inline constexpr int kWeightBits = 22;  // fraction bits of a weight: 32 - 8 bits of pixel - 2 of headroom

enum class SimdLevel { kPortable, kAvx2 };

/// The widest level this CPU runs.
SimdLevel best_simd_level() noexcept;

struct ResizeKernels {
  /// out[i] = clip(sum over t of weight[t] * rows[t][i]) for i below `bytes`.
  void (*down)(const std::uint8_t* const* rows, const std::int32_t* weight, std::int32_t taps, std::size_t bytes,
               std::uint8_t* out);
  /// The same along the columns of kBlockRows rows that lie side by side:
  /// in [in width * 3, kBlockRows] -> out [out_width * 3, kBlockRows].
  void (*across)(const std::uint8_t* in, const std::int32_t* first, const std::int32_t* count,
                 const std::int32_t* weight, std::int32_t taps, std::int32_t out_width, std::uint8_t* out);
  /// rows [kBlockRows][bytes] -> columns [bytes, kBlockRows].
  void (*to_columns)(const std::uint8_t* const* rows, std::size_t bytes, std::uint8_t* columns);
  /// columns [bytes rounded up to 16, kBlockRows] -> rows [kBlockRows][bytes rounded up to 16].
  void (*to_rows)(const std::uint8_t* columns, std::size_t bytes, std::uint8_t* const* rows);
};

/// `level` must be one that this CPU runs.
const ResizeKernels& resize_kernels(SimdLevel level) noexcept;

extern const ResizeKernels kResizePortable;
#if defined(__x86_64__)
extern const ResizeKernels kResizeAvx2;
#endif

}  // namespace navit_edge
