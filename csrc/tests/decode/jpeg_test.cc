// JPEG files of tests/data/jpeg, whole, cut off and mutated, under the sanitizers: each gives an image or InvalidInput.
// That the pixels are Pillow's, tests/python/test_decode_jpeg.py says. `NAVIT_EDGE_FUZZ_COUNT` mutations (`make fuzz`),
// some thousands in CI. The library is the copy that Pillow brings, else the system's.
#include "navit_edge/jpeg.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/image_source.h"
#include "navit_edge/resize.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

constexpr Size kSize{40, 56};  // of all files

using Bytes = std::vector<std::uint8_t>;

const std::vector<Bytes>& files() {
  static const std::vector<Bytes> all = [] {
    std::vector<Bytes> read;
    for (const char* name : {"baseline.jpg", "progressive.jpg", "gray.jpg"}) {
      std::ifstream file(std::string(NAVIT_EDGE_JPEG_FILES) + "/" + name, std::ios::binary);
      read.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return read;
  }();
  return all;
}

/// Memory of exactly that size, so that the address sanitizer sees what is read behind it.
JpegImage decode(const Bytes& file, std::size_t size, const JpegOptions& options) {
  const auto exact = std::make_unique<std::uint8_t[]>(size);
  if (size > 0) std::memcpy(exact.get(), file.data(), size);
  return decode_jpeg({exact.get(), size}, options);
}

bool library() { return !open_jpeg_library(NAVIT_EDGE_JPEG_LIBRARY).path.empty(); }

}  // namespace

TEST_CASE("without a library the error says what to do") {
  if (library()) return;
  CHECK(!open_jpeg_library().why_not.empty());
  CHECK_THROWS_AS(decode_jpeg(files()[0]), InvalidInput);
}

TEST_CASE("rows that are resized as they come give what resizing the whole image gives") {
  if (!library()) return;
  for (const Bytes& file : files()) {
    const JpegImage whole = decode_jpeg(file);
    REQUIRE(whole.view.size() == kSize);
    CHECK(whole.view.resized_from == Size{});
    for (const Size target : {Size{16, 16}, Size{40, 20}, Size{20, 56}, Size{1, 1}, Size{90, 100}}) {
      JpegOptions options;
      options.resize = target;
      const JpegImage resized = decode_jpeg(file, options);
      REQUIRE(resized.view.size() == target);
      CHECK(resized.view.resized_from == kSize);
      const auto bytes =
          static_cast<std::size_t>(target.height_px) * static_cast<std::size_t>(target.width_px * whole.view.channels);
      const auto expected = std::make_unique<std::uint8_t[]>(bytes);
      resize_image(whole.view, target, options.filter, expected.get());
      CHECK(std::memcmp(expected.get(), resized.pixels.get(), bytes) == 0);
    }
  }
}

TEST_CASE("a file that is cut off anywhere is refused") {
  if (!library()) return;
  JpegOptions options;
  options.resize = Size{16, 16};
  for (const Bytes& file : files()) {
    for (std::size_t size = 0; size < file.size(); size += size < 200 ? 1 : 7) {
      CHECK_THROWS_AS(decode(file, size, options), InvalidInput);
    }
  }
}

TEST_CASE("what is asked for is checked before the first row") {
  if (!library()) return;
  JpegOptions options;
  options.expected = {40, 57};
  CHECK_THROWS_AS(decode_jpeg(files()[0], options), InvalidInput);
  options = {};
  options.most_pixels = 40 * 56 - 1;
  CHECK_THROWS_AS(decode_jpeg(files()[0], options), InvalidInput);
  options = {};
  options.resize = Size{0, 16};
  CHECK_THROWS_AS(decode_jpeg(files()[0], options), InvalidInput);
  options.resize = Size{16, 16};
  options.processor = Processor::kTorchvision;
  options.filter = Filter::kLanczos;
  CHECK_THROWS_AS(decode_jpeg(files()[0], options), InvalidInput);
}

TEST_CASE("mutated files give an image or InvalidInput") {
  const char* given = std::getenv("NAVIT_EDGE_FUZZ_COUNT");
  const long count = given != nullptr ? std::atol(given) : 2000;
  std::mt19937 random(18);
  const auto up_to = [&](std::size_t most) { return random() % (most + 1); };
  long images = 0;
  PreprocessSpec preprocess;
  preprocess.orientation = Orientation::kApply;
  for (long i = 0; library() && i < count; ++i) {
    Bytes file = files()[up_to(files().size() - 1)];
    for (std::size_t changes = 1 + up_to(4); changes > 0 && file.size() > 20; --changes) {
      const std::size_t place = up_to(up_to(1) == 0 ? 19 : file.size() - 1);
      const auto at = file.begin() + static_cast<std::ptrdiff_t>(place);
      switch (up_to(3)) {
        case 0:
          file.erase(at, at + static_cast<std::ptrdiff_t>(up_to(std::min<std::size_t>(20, file.size() - place - 1))));
          break;
        case 1:
          file.insert(at, 1 + up_to(20), static_cast<std::uint8_t>(random()));
          break;
        default:
          *at = static_cast<std::uint8_t>(random());
      }
    }
    JpegOptions options;
    options.most_pixels = 1 << 18;
    if (up_to(1) == 0) options.resize = Size{1 + static_cast<std::int32_t>(up_to(60)), 16};
    if (up_to(1) == 0) options.decode = Decode::kScaled;
    const auto exact = std::make_unique<std::uint8_t[]>(file.size());
    std::memcpy(exact.get(), file.data(), file.size());
    const std::shared_ptr<ImageSource> source = jpeg_source({exact.get(), file.size()});
    try {
      (void)source->open({preprocess, [&](Size) { return options.resize; }, options.decode});
      (void)decode(file, file.size(), options);
      ++images;
      (void)source->decode();
    } catch (const InvalidInput&) {
    }
  }
  CHECK(images > 0 || !library());
}
