#include "navit_edge/png.h"

#include "decode/file_rows.h"
#include "decode/png_header.h"
#include "decode/png_reader.h"
#include "navit_edge/error.h"

namespace navit_edge {

bool has_late_png_metadata(std::span<const std::uint8_t> file) { return read_png_header(file).has_late_metadata; }

DecodedFile decode_png(std::span<const std::uint8_t> file, const DecodeRequest& request) {
  const PngHeader header = read_png_header(file);
  check_request(request, header.size, "PNG");
  PngReader reader(file, header);
  if (request.resize && header.has_alpha()) {
    if (request.alpha == Alpha::kReject) {
      throw InvalidInput("the PNG file has an alpha channel, and alpha is \"reject\"; expected RGB; save it without");
    }
    reader.flatten(request.alpha, request.background);
  }
  reader.start();
  DecodedFile image = image_of(reader, header.size, request);
  image.transparent = reader.transparent();
  return image;
}

}  // namespace navit_edge
