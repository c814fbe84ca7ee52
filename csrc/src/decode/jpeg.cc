#include "navit_edge/jpeg.h"

#include <string>

#include "decode/file_rows.h"
#include "decode/jpeg_markers.h"
#include "navit_edge/error.h"
#ifdef NAVIT_EDGE_JPEG
#include "decode/jpeg_reader.h"
#endif

namespace navit_edge {

void check_jpeg_scans(std::span<const std::uint8_t> file) {
  std::int32_t scans = 0;
  JpegMarkers markers(file);
  while (const auto marker = markers.next()) {
    if (marker->code != kJpegScan || ++scans <= kMostJpegScans) continue;
    throw InvalidInput(
        "the JPEG file has more than " + std::to_string(kMostJpegScans) +
        " scans, each of which takes as long as a whole image; expected at most that many; save it anew");
  }
}

std::int32_t jpeg_scale(Size image, Size target) noexcept {
  for (const std::int32_t scale : {8, 4, 2}) {
    const auto fits = [scale](std::int32_t side, std::int32_t wanted) {
      return (std::int64_t{side} + scale - 1) / scale >= 2 * std::int64_t{wanted};
    };
    if (fits(image.height_px, target.height_px) && fits(image.width_px, target.width_px)) return scale;
  }
  return 1;
}

#ifdef NAVIT_EDGE_JPEG

DecodedFile decode_jpeg(std::span<const std::uint8_t> file, const DecodeRequest& request) {
  check_jpeg_scans(file);
  JpegReader reader(file);
  const Size size = reader.size();
  check_request(request, size, "JPEG");
  const bool scales = request.resize && request.decode == Decode::kScaled;
  reader.start(scales ? jpeg_scale(size, *request.resize) : 1);
  return image_of(reader, size, request);
}

#else

const DecoderLibrary& open_jpeg_library(const std::string&) {
  static const DecoderLibrary none{
      "",
      "navit_edge was built without jpeglib.h; pip install --no-deps "
      "--ignore-requires-python comma-deps-libjpeg, or apt install libjpeg-dev, and build it again"};
  return none;
}

DecodedFile decode_jpeg(std::span<const std::uint8_t>, const DecodeRequest&) {
  throw InvalidInput("JPEG files cannot be decoded here: " + open_jpeg_library().why_not);
}

#endif

}  // namespace navit_edge
