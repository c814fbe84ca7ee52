// PNG files as image sources: orientation, alpha, profiles. That callers of C++ and C get from a file what Pillow makes
// of it, tests/python/test_submit_files.py says.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "navit_edge/error.h"
#include "navit_edge/image_source.h"
#include "navit_edge/png.h"
#include "navit_edge/resize.h"
#include "support/check.h"
#include "support/image_files.h"
#include "support/png_chunks.h"
#include "support/turned.h"

using namespace navit_edge;
using namespace std::string_view_literals;

namespace {

Bytes read(const std::string& name) { return read_image_file("png/" + name); }

bool library() { return !open_png_library(NAVIT_EDGE_PNG_LIBRARY).path.empty(); }

/// The chunk eXIf: a TIFF structure alone.
Bytes tiff(std::uint8_t orientation) {
  const Bytes whole = exif(orientation, orientation % 2 == 0);
  return {whole.begin() + 6, whole.end()};
}

/// As ImageMagick writes it.
Bytes profile_text(const Bytes& content) {
  std::string out = joined({"Raw profile type exif\0"sv, "\nexif\n", std::to_string(content.size())});
  constexpr char kDigits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < content.size(); ++i) {
    if (i % 36 == 0) out += '\n';
    out += kDigits[content[i] >> 4];
    out += kDigits[content[i] & 15];
  }
  return text(out + "\n");
}

Bytes xmp(int orientation) {
  return text(joined({"XML:com.adobe.xmp\0\0\0\0\0"sv, "<x tiff:Orientation=\"", std::to_string(orientation), "\"/>"}));
}

}  // namespace

TEST_CASE("PNG files are turned upright by EXIF, in its chunk or as text, else by XMP, wherever it stands") {
  if (!library()) return;
  for (const char* name : {"rgb.png", "rgba.png", "gray.png", "palette.png", "interlaced.png"}) {
    const Bytes file = read(name);
    const DecodedFile whole = decode_png(file);
    for (int orientation = 0; orientation <= 9; ++orientation) {
      const bool valid = orientation >= 1 && orientation <= 8;
      const auto by_number = static_cast<std::uint8_t>(orientation);
      const Bytes as_text = profile_text(exif(by_number, true));
      for (const Bytes& turned :
           {with_chunk(file, "eXIf", tiff(by_number)), with_late_chunk(file, "eXIf", tiff(by_number)),
            with_chunk(file, "eXIf", exif(by_number, false)), with_chunk(file, "tEXt", as_text),
            with_late_chunk(file, "tEXt", as_text), with_chunk(file, "iTXt", xmp(orientation)),
            with_chunk(with_chunk(file, "iTXt", xmp(3)), "eXIf", tiff(by_number)),
            with_chunk(with_chunk(file, "tEXt", profile_text(exif(3, true))), "eXIf", tiff(by_number))}) {
        const OwnedImage image = decoded(turned, upright());
        CHECK(image.view.size() == (valid && orientation >= 5 ? Size{56, 40} : Size{40, 56}));
        CHECK(is_turned(image.view, whole.view, valid ? orientation : 1));
        CHECK(is_turned(decoded(turned).view, whole.view, 1));  // as it is decoded
      }
    }
  }
}

TEST_CASE("EXIF as text that is cut off or damaged turns nothing") {
  if (!library()) return;
  const Bytes file = read("rgb.png");
  const Bytes whole = profile_text(exif(6, true));
  for (std::size_t size = 0; size < whole.size() - 20; ++size) {  // behind that lies the end of the directory
    const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK(decoded(with_chunk(file, "tEXt", part), upright()).view.size() == Size{40, 56});
  }
  const Bytes no_zlib = text(joined({"Raw profile type exif\0\0"sv, "no zlib"}));
  CHECK(decoded(with_chunk(file, "zTXt", no_zlib), upright()).view.size() == Size{40, 56});
}

TEST_CASE("alpha goes as the bundle says, before the resize; a file that is turned keeps it") {
  if (!library()) return;
  const Bytes file = read("rgba.png");
  PreprocessSpec preprocess = upright();
  preprocess.alpha = Alpha::kComposite;
  preprocess.background = {200, 10, 50};
  const OwnedImage image = decoded(file, preprocess, Size{16, 16});
  REQUIRE((image.view.channels == 3 && image.view.resized_from == Size{40, 56}));
  const auto rgb = std::make_unique<std::uint8_t[]>(40 * 56 * 3);
  convert_to_rgb(decode_png(file).view, preprocess.alpha, preprocess.background, rgb.get());
  ImageView flat;
  flat.data = rgb.get();
  flat.height_px = 40;
  flat.width_px = 56;
  const auto expected = std::make_unique<std::uint8_t[]>(16 * 16 * 3);
  resize_image(flat, {16, 16}, preprocess.filter, expected.get());
  CHECK(std::memcmp(image.view.data, expected.get(), 16 * 16 * 3) == 0);
  const OwnedImage turned = decoded(with_chunk(file, "eXIf", tiff(6)), preprocess, Size{16, 16});
  CHECK((turned.view.channels == 4 && turned.view.size() == Size{56, 40}));
  preprocess.alpha = Alpha::kReject;
  CHECK_THROWS_WITH_AS(decoded(file, preprocess, Size{16, 16}), "has an alpha channel", InvalidInput);
}

TEST_CASE("of an interlaced file all pixels are counted") {
  if (!library()) return;
  const Bytes file = read("interlaced.png");
  const PreprocessSpec preprocess;
  const std::shared_ptr<ImageSource> source = file_source({file.data(), file.size()});
  CHECK(source->open({preprocess, [](Size) { return Size{16, 16}; }}) == 40 * 56 * 3);
  const OwnedImage image = source->decode();
  CHECK((image.view.size() == Size{16, 16} && image.view.resized_from == Size{40, 56}));
}

TEST_CASE("what cannot be decoded as it should be is refused with what to do") {
  if (!library()) return;
  const Bytes file = read("rgb.png");
  CHECK_THROWS_WITH_AS(decoded({file.begin(), file.begin() + 8}), "ends before its last chunk", InvalidInput);
  Bytes large = file;
  large[16] = large[20] = 0x10;  // width and height
  CHECK_THROWS_WITH_AS(decoded(with_checksums(large)), "expected at most 268435456 in all", InvalidInput);
  Bytes damaged = file;
  damaged[24] = 3;  // bits
  CHECK_THROWS_WITH_AS(decoded(with_checksums(damaged)), "has a damaged header", InvalidInput);
  CHECK_THROWS_WITH_AS(decoded(with_chunk(read("deep.png"), "tRNS", Bytes(2))), "a transparent gray of 16 bits",
                       InvalidInput);
  PreprocessSpec srgb;
  srgb.icc = Icc::kSrgb;
  const Bytes profile = with_chunk(file, "iCCP", text("name"));
  CHECK_THROWS_WITH_AS(decoded(profile, srgb), "has a colour profile", InvalidInput);
  CHECK(decoded(profile).view.size() == Size{40, 56});
  CHECK(decoded(file, srgb).view.size() == Size{40, 56});
}
