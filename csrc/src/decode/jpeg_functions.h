// The functions of libjpeg-turbo that decoding takes, found when the program runs, and how its errors leave it.
#pragma once

#include <csetjmp>

#include "decode/jpeg_abi.h"

namespace navit_edge {

struct JpegFunctions {
  decltype(&::jpeg_std_error) std_error = nullptr;
  decltype(&::jpeg_CreateDecompress) create = nullptr;
  decltype(&::jpeg_read_header) read_header = nullptr;
  decltype(&::jpeg_start_decompress) start = nullptr;
  decltype(&::jpeg_read_scanlines) read_rows = nullptr;
  decltype(&::jpeg_finish_decompress) finish = nullptr;
  decltype(&::jpeg_destroy_decompress) destroy = nullptr;
  decltype(&::jpeg_resync_to_restart) resync_to_restart = nullptr;
};

/// Throws InvalidInput if open_jpeg_library found none.
const JpegFunctions& jpeg_functions();

/// libjpeg's errors, and the place to which they jump: one that setjmp has set in a function that has not returned and
/// has no objects with destructors. The library calls back with a pointer to `base`.
struct JumpingErrors {
  jpeg_error_mgr base{};
  std::jmp_buf place;

  /// For jpeg_decompress_struct::err. Nothing is printed; warnings are counted in base.num_warnings.
  jpeg_error_mgr* set(const JpegFunctions& functions) noexcept;
};

}  // namespace navit_edge
