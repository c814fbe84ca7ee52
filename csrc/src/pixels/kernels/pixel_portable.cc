// The baseline: SSE2, NEON.
#include "pixels/kernels/pixel_body.h"
#include "pixels/kernels/pixel_kernels.h"

namespace navit_edge {

const PixelKernels kPixelsPortable = pixel_kernels_here();

const PixelKernels& pixel_kernels(SimdLevel level) noexcept {
#if defined(__x86_64__)
  if (level != SimdLevel::kPortable) return kPixelsAvx2;
#endif
  static_cast<void>(level);
  return kPixelsPortable;
}

}  // namespace navit_edge
