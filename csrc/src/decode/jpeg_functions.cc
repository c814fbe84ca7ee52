#include "decode/jpeg_functions.h"

#include <string>

#include "decode/codec_library.h"
#include "navit_edge/error.h"
#include "navit_edge/jpeg.h"

namespace navit_edge {
namespace {

struct Opened {
  DecoderLibrary library;
  JpegFunctions functions;
};

/// Whether the library's struct is ours: it refuses any other version and size.
bool fits(const JpegFunctions& call) noexcept {
  JumpingErrors errors;
  jpeg_decompress_struct info{};
  info.err = errors.set(call);
  if (setjmp(errors.place) != 0) return false;
  call.create(&info, JPEG_LIB_VERSION, sizeof(info));
  call.destroy(&info);
  return true;
}

Opened open(const std::string& path) {
  Opened opened;
  const std::string name = path.empty() ? "libjpeg.so.62" : path;
  void* const handle =
      open_codec(name, "install libjpeg-turbo, as apt install libjpeg62-turbo", opened.library.why_not);
  if (handle == nullptr) return opened;
  JpegFunctions& call = opened.functions;
  if (!find_function(handle, "jpeg_std_error", call.std_error) ||
      !find_function(handle, "jpeg_CreateDecompress", call.create) ||
      !find_function(handle, "jpeg_read_header", call.read_header) ||
      !find_function(handle, "jpeg_start_decompress", call.start) ||
      !find_function(handle, "jpeg_read_scanlines", call.read_rows) ||
      !find_function(handle, "jpeg_finish_decompress", call.finish) ||
      !find_function(handle, "jpeg_destroy_decompress", call.destroy) ||
      !find_function(handle, "jpeg_resync_to_restart", call.resync_to_restart)) {
    opened.library.why_not = name + " is not linked to a shared libjpeg; expected one, as in Pillow's wheels on PyPI";
    return opened;
  }
  if (!fits(call)) {
    opened.library.why_not = name +
                             " has a libjpeg of another binary interface; expected that of libjpeg 6.2, which "
                             "Pillow's wheels on PyPI and Debian have";
    return opened;
  }
  opened.library.path = file_of(reinterpret_cast<void*>(call.read_header), name);
  return opened;
}

const Opened& opened_once(const std::string& path) {
  static const Opened opened = open(path);
  return opened;
}

[[noreturn]] void jump(j_common_ptr info) { std::longjmp(reinterpret_cast<JumpingErrors*>(info->err)->place, 1); }

void count_warning(j_common_ptr info, int level) {
  if (level < 0) ++info->err->num_warnings;
}

void say_nothing(j_common_ptr) {}

}  // namespace

const DecoderLibrary& open_jpeg_library(const std::string& path) { return opened_once(path).library; }

const JpegFunctions& jpeg_functions() {
  const Opened& opened = opened_once("");
  if (opened.library.path.empty()) {
    throw InvalidInput("JPEG files cannot be decoded here: " + opened.library.why_not);
  }
  return opened.functions;
}

jpeg_error_mgr* JumpingErrors::set(const JpegFunctions& functions) noexcept {
  jpeg_error_mgr* const errors = functions.std_error(&base);
  base.error_exit = jump;
  base.emit_message = count_warning;
  base.output_message = say_nothing;
  return errors;
}

}  // namespace navit_edge
