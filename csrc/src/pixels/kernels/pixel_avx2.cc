// Compiled with AVX2 on x86-64; empty elsewhere.
#if defined(__x86_64__)

#include "pixels/kernels/pixel_body.h"

namespace navit_edge {

const PixelKernels kPixelsAvx2 = pixel_kernels_here();

}  // namespace navit_edge

#endif
