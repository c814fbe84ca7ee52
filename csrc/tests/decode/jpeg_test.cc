// JPEG files of tests/data/jpeg, whole, cut off and mutated, under the sanitizers: each gives an image or InvalidInput.
// That the pixels are Pillow's, tests/python/test_decode_jpeg.py says. `NAVIT_EDGE_FUZZ_COUNT` mutations (`make fuzz`),
// some thousands in CI. The library is the copy that Pillow brings, else the system's.
#include "navit_edge/jpeg.h"

#include <cstring>
#include <memory>
#include <random>

#include "navit_edge/error.h"
#include "navit_edge/image_source.h"
#include "navit_edge/resize.h"
#include "support/check.h"
#include "support/image_files.h"

using namespace navit_edge;

namespace {

constexpr Size kSize{40, 56};  // of all files

const std::vector<Bytes>& files() {
  static const std::vector<Bytes> all =
      read_image_files({"jpeg/baseline.jpg", "jpeg/progressive.jpg", "jpeg/gray.jpg"});
  return all;
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
    const DecodedFile whole = decode_jpeg(file);
    REQUIRE(whole.view.size() == kSize);
    CHECK(whole.view.resized_from == Size{});
    for (const Size target : {Size{16, 16}, Size{40, 20}, Size{20, 56}, Size{1, 1}, Size{90, 100}}) {
      DecodeRequest request;
      request.resize = target;
      const DecodedFile resized = decode_jpeg(file, request);
      REQUIRE(resized.view.size() == target);
      CHECK(resized.view.resized_from == kSize);
      const auto bytes =
          static_cast<std::size_t>(target.height_px) * static_cast<std::size_t>(target.width_px * whole.view.channels);
      const auto expected = std::make_unique<std::uint8_t[]>(bytes);
      resize_image(whole.view, target, request.filter, expected.get());
      CHECK(std::memcmp(expected.get(), resized.pixels.get(), bytes) == 0);
    }
  }
}

TEST_CASE("a file that is cut off anywhere is refused") {
  if (!library()) return;
  DecodeRequest request;
  request.resize = Size{16, 16};
  for (const Bytes& file : files()) {
    for (std::size_t size = 0; size < file.size(); size += size < 200 ? 1 : 7) {
      CHECK_THROWS_AS(decode_jpeg(ExactBytes(file, size).span(), request), InvalidInput);
    }
  }
}

TEST_CASE("what is asked for is checked before the first row") {
  if (!library()) return;
  DecodeRequest request;
  request.expected = {40, 57};
  CHECK_THROWS_AS(decode_jpeg(files()[0], request), InvalidInput);
  request = {};
  request.most_pixels = 40 * 56 - 1;
  CHECK_THROWS_AS(decode_jpeg(files()[0], request), InvalidInput);
  request = {};
  request.resize = Size{0, 16};
  CHECK_THROWS_AS(decode_jpeg(files()[0], request), InvalidInput);
  request.resize = Size{16, 16};
  request.processor = Processor::kTorchvision;
  request.filter = Filter::kLanczos;
  CHECK_THROWS_AS(decode_jpeg(files()[0], request), InvalidInput);
}

TEST_CASE("mutated files give an image or InvalidInput") {
  std::mt19937 random(18);
  long images = 0;
  PreprocessSpec preprocess;
  preprocess.orientation = Orientation::kApply;
  for (long i = 0; library() && i < fuzz_count(); ++i) {
    const ExactBytes file(mutated(files()[drawn(random, files().size() - 1)], 20, random));
    DecodeRequest request;
    request.most_pixels = 1 << 18;
    if (drawn(random, 1) == 0) request.resize = Size{1 + static_cast<std::int32_t>(drawn(random, 60)), 16};
    if (drawn(random, 1) == 0) request.decode = Decode::kScaled;
    const std::shared_ptr<ImageSource> source = file_source(file.span());
    try {
      (void)source->open({preprocess, [&](Size) { return request.resize; }, request.decode});
      (void)decode_jpeg(file.span(), request);
      ++images;
      (void)source->decode();
    } catch (const InvalidInput&) {
    }
  }
  CHECK((images > 0 || !library()));
}
