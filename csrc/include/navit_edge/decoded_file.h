// What image files are decoded to, whatever their format (docs/inputs.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "navit_edge/image.h"
#include "navit_edge/types.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// A library that is opened when the program runs.
struct DecoderLibrary {
  std::string path;     // of the library that decodes; empty: none does
  std::string why_not;  // why none does, with the remedy
};

/// What a file is decoded to.
struct DecodeRequest {
  std::optional<Size> resize;  // each row is resized as it comes, and the image is never in memory as a whole
  Filter filter = Filter::kBilinear;
  Processor processor = Processor::kPillow;
  /// kScaled: a JPEG image that is resized is decoded at 1 / jpeg_scale of its sides first. Other pixels, and faster.
  Decode decode = Decode::kExact;
  /// Of an image with an alpha channel that is resized: it becomes RGB before, as a session has it.
  Alpha alpha = Alpha::kDrop;
  Rgb background = {255, 255, 255};  // for Alpha::kComposite
  /// What the header has been read to say: another size is refused. {0, 0}: any up to `most_pixels`.
  Size expected{};
  std::int64_t most_pixels = std::int64_t{1} << 28;
};

/// `view` is gray, RGB or RGBA; its resized_from is set if the image was resized.
struct DecodedFile {
  ImageView view;
  std::unique_ptr<std::uint8_t[]> pixels;  // [view.height_px, view.width_px, view.channels]
  bool transparent = false;                // the file has an alpha channel that is not 255 throughout
};

}  // namespace navit_edge
