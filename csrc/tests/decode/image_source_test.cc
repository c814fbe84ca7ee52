// Image files as image sources: headers, orientation, limits, and what is refused. Of JPEG; png_source_test.cc is
// beside it. That C callers get from a file what Pillow makes of it, tests/python/test_submit_files.py says.
#include "navit_edge/image_source.h"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "navit_edge/error.h"
#include "navit_edge/jpeg.h"
#include "support/check.h"
#include "support/image_files.h"
#include "support/temp_dir.h"
#include "support/turned.h"

using namespace navit_edge;
using namespace std::string_view_literals;

namespace {

Bytes read(const std::string& name) { return read_image_file("jpeg/" + name); }

bool library() { return !open_jpeg_library(NAVIT_EDGE_JPEG_LIBRARY).path.empty(); }

/// `file` with a segment behind its first marker.
Bytes with_segment(const Bytes& file, std::uint8_t code, const Bytes& content) {
  Bytes out(file.begin(), file.begin() + 2);
  const std::size_t length = content.size() + 2;
  out.insert(out.end(), {0xFF, code, static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length & 0xFF)});
  out.insert(out.end(), content.begin(), content.end());
  out.insert(out.end(), file.begin() + 2, file.end());
  return out;
}

Bytes xmp(const std::string& orientation) {
  return text(joined({"http://ns.adobe.com/xap/1.0/\0"sv, "<x tiff:Orientation", orientation, "/>"}));
}

}  // namespace

TEST_CASE("files are turned upright by their EXIF, else by their XMP, where the bundle says so") {
  if (!library()) return;
  for (const char* name : {"baseline.jpg", "gray.jpg"}) {
    const Bytes file = read(name);
    const DecodedFile whole = decode_jpeg(file);
    for (int orientation = 0; orientation <= 9; ++orientation) {
      const bool valid = orientation >= 1 && orientation <= 8;
      for (const Bytes& segment :
           {exif(static_cast<std::uint8_t>(orientation), true), exif(static_cast<std::uint8_t>(orientation), false),
            xmp("=\"" + std::to_string(orientation) + "\""), xmp(">" + std::to_string(orientation))}) {
        const Bytes turned = with_segment(file, 0xE1, segment);
        const OwnedImage image = decoded(turned, upright());
        const bool sideways = valid && orientation >= 5;
        CHECK(image.view.size() == (sideways ? Size{56, 40} : Size{40, 56}));
        CHECK(is_turned(image.view, whole.view, valid ? orientation : 1));
        CHECK(is_turned(decoded(turned).view, whole.view, 1));  // as it is decoded
      }
    }
    const Bytes both = with_segment(with_segment(file, 0xE1, xmp("=\"3\"")), 0xE1, exif(6, true));
    CHECK(is_turned(decoded(both, upright()).view, whole.view, 6));
  }
}

TEST_CASE("damaged EXIF turns nothing, wherever it is cut off") {
  if (!library()) return;
  const Bytes file = read("baseline.jpg");
  const Bytes whole = exif(6, true);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const OwnedImage image = decoded(
        with_segment(file, 0xE1, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}), upright());
    CHECK((image.view.size() == Size{40, 56} || size >= 26));  // the value is there, the rest is not
  }
}

TEST_CASE("rows are resized to what the session says, and a file that is turned is given whole") {
  if (!library()) return;
  const Bytes file = read("baseline.jpg");
  const OwnedImage image = decoded(file, upright(), Size{16, 16});
  CHECK((image.view.size() == Size{16, 16} && image.view.resized_from == Size{40, 56}));
  const OwnedImage turned = decoded(with_segment(file, 0xE1, exif(6, true)), upright(), Size{16, 16});
  CHECK((turned.view.size() == Size{56, 40} && turned.view.resized_from == Size{}));
}

TEST_CASE("a scaled file is decoded at a power of two of its sides, at least twice the target's") {
  CHECK(jpeg_scale({3000, 4000}, {224, 224}) == 4);
  CHECK(jpeg_scale({448, 448}, {224, 224}) == 1);
  CHECK(jpeg_scale({895, 895}, {224, 224}) == 2);  // 448, rounded up
  CHECK(jpeg_scale({894, 895}, {224, 224}) == 1);
  CHECK(jpeg_scale({3000, 4000}, {16, 16}) == 8);
  CHECK(jpeg_scale({10, 10}, {100, 100}) == 1);
  if (!library()) return;
  for (const char* name : {"baseline.jpg", "progressive.jpg", "gray.jpg"}) {
    const Bytes file = read(name);
    const OwnedImage exact = decoded(file, {}, Size{10, 14});
    const OwnedImage scaled = decoded(file, {}, Size{10, 14}, Decode::kScaled);
    CHECK((scaled.view.size() == Size{10, 14} && scaled.view.resized_from == Size{40, 56}));
    int most = 0;
    bool differs = false;
    for (int i = 0; i < 10 * 14 * exact.view.channels; ++i) {
      const int apart = exact.view.data[i] - scaled.view.data[i];
      most = std::max(most, apart < 0 ? -apart : apart);
      differs = differs || apart != 0;
    }
    CHECK((differs && most < 64));
    const OwnedImage large = decoded(file, {}, Size{40, 14}, Decode::kScaled);  // scale 1: the same bytes
    CHECK(std::memcmp(large.view.data, decoded(file, {}, Size{40, 14}).view.data,
                      static_cast<std::size_t>(40 * large.view.stride())) == 0);
  }
}

TEST_CASE("what is no JPEG file of one or three channels is refused with what to do") {
  if (!library()) return;
  const Bytes file = read("baseline.jpg");
  CHECK_THROWS_WITH_AS(decoded(text("RIFF....WEBP")), "is neither a JPEG nor a PNG file", InvalidInput);
  CHECK_THROWS_WITH_AS(decoded({file.begin(), file.begin() + 20}), "ends before its pixels", InvalidInput);
  CHECK_THROWS_WITH_AS(file_source(std::span<const std::uint8_t>()), "is empty", InvalidInput);
  CHECK_THROWS_WITH_AS(file_source(std::filesystem::path()), "is empty", InvalidInput);
  Bytes cmyk = file;
  for (std::size_t i = 0; i + 9 < cmyk.size(); ++i) {
    if (cmyk[i] != 0xFF || cmyk[i + 1] != 0xC0) continue;
    Bytes large = file;
    large[i + 5] = large[i + 7] = 0xFF;  // height and width
    CHECK_THROWS_WITH_AS(decoded(large), "expected at most 268435456 in all", InvalidInput);
    cmyk[i + 9] = 4;
    break;
  }
  CHECK_THROWS_WITH_AS(decoded(cmyk), "has 4 channels; expected 1 or 3", InvalidInput);
  const Bytes profile = with_segment(file, 0xE2, text(std::string("ICC_PROFILE\0\1\1", 14)));
  PreprocessSpec srgb;
  srgb.icc = Icc::kSrgb;
  CHECK_THROWS_WITH_AS(decoded(profile, srgb), "has a colour profile", InvalidInput);
  CHECK(decoded(profile).view.size() == Size{40, 56});
  CHECK(decoded(file, srgb).view.size() == Size{40, 56});
}

TEST_CASE("a path is a regular file, a link to one, or an error that names it") {
  if (!library()) return;
  const TempDir folder;
  const auto open = [](const std::filesystem::path& path) {
    const PreprocessSpec preprocess;
    const DecodeTarget target{preprocess, [](Size) { return std::nullopt; }};
    const std::shared_ptr<ImageSource> source = file_source(path);
    CHECK(source->held_bytes() == 0);
    source->open(target);
    return source->decode();
  };
  const std::filesystem::path file = std::filesystem::path(NAVIT_EDGE_IMAGE_FILES) / "jpeg/baseline.jpg";
  CHECK(open(file).view.size() == Size{40, 56});
  std::filesystem::create_symlink(file, folder.path() / "link.jpg");
  CHECK(open(folder.path() / "link.jpg").view.size() == Size{40, 56});
  CHECK_THROWS_WITH_AS(open(folder.path() / "none.jpg"), "none.jpg is missing", InvalidInput);
  CHECK_THROWS_WITH_AS(open(folder.path()), "is a folder; expected a regular file", InvalidInput);
  std::ofstream(folder.path() / "text.jpg") << "no image";
  CHECK_THROWS_WITH_AS(open(folder.path() / "text.jpg"), "text.jpg: is neither a JPEG nor a PNG file", InvalidInput);
}
