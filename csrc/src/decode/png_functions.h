// The functions of libpng that decoding takes, found when the program runs. Its structs are opaque, and version 1.6 of
// its interface has not changed since 2013: so no header of it is needed (https://www.libpng.org/pub/png/libpng.html).
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>

namespace navit_edge {

struct PngStruct;  // png_struct
struct PngInfo;    // png_info

using PngMessage = void (*)(PngStruct* png, const char* message);
using PngRead = void (*)(PngStruct* png, std::uint8_t* to, std::size_t bytes);

/// Each named as in libpng, without png_; uncompress is zlib's, to which libpng is linked.
struct PngFunctions {
  std::uint32_t (*access_version_number)() = nullptr;
  PngStruct* (*create_read_struct)(const char* version, void* errors, PngMessage error, PngMessage warning) = nullptr;
  PngInfo* (*create_info_struct)(PngStruct* png) = nullptr;
  void (*destroy_read_struct)(PngStruct** png, PngInfo** info, PngInfo** end) = nullptr;
  void* (*get_error_ptr)(const PngStruct* png) = nullptr;
  void* (*get_io_ptr)(const PngStruct* png) = nullptr;
  void (*set_read_fn)(PngStruct* png, void* source, PngRead read) = nullptr;
  void (*set_user_limits)(PngStruct* png, std::uint32_t width, std::uint32_t height) = nullptr;
  void (*set_keep_unknown_chunks)(PngStruct* png, int keep, const std::uint8_t* chunks, int count) = nullptr;
  void (*read_info)(PngStruct* png, PngInfo* info) = nullptr;
  void (*set_packing)(PngStruct* png) = nullptr;
  void (*set_scale_16)(PngStruct* png) = nullptr;
  void (*set_strip_16)(PngStruct* png) = nullptr;
  int (*set_interlace_handling)(PngStruct* png) = nullptr;
  void (*read_update_info)(PngStruct* png, PngInfo* info) = nullptr;
  std::size_t (*get_rowbytes)(const PngStruct* png, const PngInfo* info) = nullptr;
  void (*read_row)(PngStruct* png, std::uint8_t* row, std::uint8_t* display_row) = nullptr;
  void (*read_end)(PngStruct* png, PngInfo* info) = nullptr;
  int (*uncompress)(std::uint8_t* to, unsigned long* to_bytes, const std::uint8_t* from,  // NOLINT: zlib's types
                    unsigned long from_bytes) = nullptr;
};

/// Throws InvalidInput if open_png_library found none.
const PngFunctions& png_functions();

/// libpng's errors, and the place to which they jump: one that setjmp has set in a function that has not returned and
/// has no objects with destructors. Nothing is printed.
struct JumpingPngErrors {
  char text[200] = "";  // of the first one, warnings included
  int warnings = 0;
  std::jmp_buf place;

  void note(const char* message) noexcept;
  [[noreturn]] void jump(const char* message) noexcept;

  static void on_error(PngStruct* png, const char* message);
  static void on_warning(PngStruct* png, const char* message);
};

}  // namespace navit_edge
