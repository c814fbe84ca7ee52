#include "decode/png_functions.h"

#include <cstdio>
#include <string>

#include "decode/codec_library.h"
#include "navit_edge/error.h"
#include "navit_edge/png.h"

namespace navit_edge {
namespace {

constexpr const char* kSystemPng = "libpng16.so.16";

struct OpenedPng {
  DecoderLibrary library;
  PngFunctions functions;
};

bool find_all(void* handle, PngFunctions& call) {
  return find_function(handle, "png_access_version_number", call.access_version_number) &&
         find_function(handle, "png_create_read_struct", call.create_read_struct) &&
         find_function(handle, "png_create_info_struct", call.create_info_struct) &&
         find_function(handle, "png_destroy_read_struct", call.destroy_read_struct) &&
         find_function(handle, "png_get_error_ptr", call.get_error_ptr) &&
         find_function(handle, "png_get_io_ptr", call.get_io_ptr) &&
         find_function(handle, "png_set_read_fn", call.set_read_fn) &&
         find_function(handle, "png_set_user_limits", call.set_user_limits) &&
         find_function(handle, "png_set_keep_unknown_chunks", call.set_keep_unknown_chunks) &&
         find_function(handle, "png_read_info", call.read_info) &&
         find_function(handle, "png_set_packing", call.set_packing) &&
         find_function(handle, "png_set_scale_16", call.set_scale_16) &&
         find_function(handle, "png_set_strip_16", call.set_strip_16) &&
         find_function(handle, "png_set_interlace_handling", call.set_interlace_handling) &&
         find_function(handle, "png_read_update_info", call.read_update_info) &&
         find_function(handle, "png_get_rowbytes", call.get_rowbytes) &&
         find_function(handle, "png_read_row", call.read_row) && find_function(handle, "png_read_end", call.read_end) &&
         find_function(handle, "uncompress", call.uncompress);
}

OpenedPng open_png(const std::string& name) {
  OpenedPng opened;
  void* const handle = open_codec(name, "install libpng, as apt install libpng16-16", opened.library.why_not);
  if (handle == nullptr) return opened;
  PngFunctions& call = opened.functions;
  const bool all = find_all(handle, call);
  if (!all || call.access_version_number() / 100 != 106) {  // 1.6.39 is 10639
    opened.library.why_not = name + (all ? " is another release of libpng" : " lacks functions of libpng, or of zlib") +
                             "; expected libpng 1.6 as Pillow's wheels on PyPI and distributions have it; install it, "
                             "as apt install libpng16-16";
    return opened;
  }
  opened.library.path = file_of(reinterpret_cast<void*>(call.read_row), name);
  return opened;
}

const OpenedPng& opened_png(const std::string& path) {
  static const OpenedPng opened = [&] {
    OpenedPng first = open_png(path.empty() ? kSystemPng : path);
    if (path.empty() || !first.library.path.empty()) return first;
    OpenedPng second = open_png(kSystemPng);
    if (second.library.path.empty()) second.library.why_not += "; " + path + " cannot be used either";
    return second;
  }();
  return opened;
}

JumpingPngErrors& errors_of(const PngStruct* png) {
  return *static_cast<JumpingPngErrors*>(png_functions().get_error_ptr(png));
}

}  // namespace

const DecoderLibrary& open_png_library(const std::string& path) { return opened_png(path).library; }

const PngFunctions& png_functions() {
  const OpenedPng& opened = opened_png("");
  if (opened.library.path.empty()) {
    throw InvalidInput("PNG files cannot be decoded here: " + opened.library.why_not);
  }
  return opened.functions;
}

void JumpingPngErrors::note(const char* message) noexcept {
  if (text[0] == '\0') std::snprintf(text, sizeof(text), "%s", message != nullptr ? message : "no reason given");
}

void JumpingPngErrors::jump(const char* message) noexcept {
  note(message);
  std::longjmp(place, 1);
}

void JumpingPngErrors::on_error(PngStruct* png, const char* message) { errors_of(png).jump(message); }

void JumpingPngErrors::on_warning(PngStruct* png, const char* message) {
  JumpingPngErrors& errors = errors_of(png);
  errors.note(message);
  ++errors.warnings;
}

}  // namespace navit_edge
