// PNG files of tests/data/png, whole, cut off and mutated, under the sanitizers: each gives an image or InvalidInput.
// That the pixels are Pillow's, tests/python/test_decode_png.py says. `NAVIT_EDGE_FUZZ_COUNT` mutations (`make fuzz`),
// some thousands in CI. The library is the copy that Pillow brings, else the system's.
#include "navit_edge/png.h"

#include <cstring>
#include <memory>
#include <random>

#include "navit_edge/error.h"
#include "navit_edge/image_source.h"
#include "navit_edge/resize.h"
#include "support/check.h"
#include "support/image_files.h"
#include "support/png_chunks.h"

using namespace navit_edge;

namespace {

constexpr Size kSize{40, 56};  // of all files

const std::vector<Bytes>& files() {
  static const std::vector<Bytes> all = read_image_files(
      {"png/rgb.png", "png/rgba.png", "png/gray.png", "png/palette.png", "png/deep.png", "png/interlaced.png"});
  return all;
}

bool library() { return !open_png_library(NAVIT_EDGE_PNG_LIBRARY).path.empty(); }

std::size_t bytes_of(Size size, std::int32_t channels) {
  return static_cast<std::size_t>(size.height_px) * static_cast<std::size_t>(size.width_px * channels);
}

}  // namespace

TEST_CASE("without a library the error says what to do") {
  if (library()) return;
  CHECK(!open_png_library().why_not.empty());
  CHECK_THROWS_AS(decode_png(files()[0]), InvalidInput);
}

TEST_CASE("files have the channels that their colour types say") {
  if (!library()) return;
  const std::int32_t channels[] = {3, 4, 1, 4, 1, 3};
  for (std::size_t i = 0; i < files().size(); ++i) {
    const DecodedFile image = decode_png(files()[i]);
    CHECK((image.view.size() == kSize && image.view.channels == channels[i]));
    CHECK(image.transparent == (channels[i] == 4));
  }
}

TEST_CASE("rows that are resized as they come give what resizing the whole image gives, without its alpha") {
  if (!library()) return;
  for (const Bytes& file : files()) {
    const DecodedFile whole = decode_png(file);
    REQUIRE(whole.view.size() == kSize);
    CHECK(whole.view.resized_from == Size{});
    for (const Alpha alpha : {Alpha::kDrop, Alpha::kComposite}) {
      DecodeRequest request;
      request.alpha = alpha;
      request.background = {10, 200, 90};
      ImageView plain = whole.view;
      const auto rgb = std::make_unique<std::uint8_t[]>(bytes_of(kSize, 3));
      if (plain.channels == 4) {
        convert_to_rgb(whole.view, alpha, request.background, rgb.get());
        plain.data = rgb.get();
        plain.channels = 3;
        plain.format = PixelFormat::kRgb;
      }
      for (const Size target : {Size{16, 16}, Size{40, 20}, Size{20, 56}, Size{1, 1}, Size{90, 100}}) {
        request.resize = target;
        const DecodedFile resized = decode_png(file, request);
        REQUIRE((resized.view.size() == target && resized.view.channels == plain.channels));
        CHECK((resized.view.resized_from == kSize && resized.transparent == whole.transparent));
        const auto expected = std::make_unique<std::uint8_t[]>(bytes_of(target, plain.channels));
        resize_image(plain, target, request.filter, expected.get());
        CHECK(std::memcmp(expected.get(), resized.pixels.get(), bytes_of(target, plain.channels)) == 0);
      }
    }
  }
}

TEST_CASE("a file that is cut off anywhere is refused") {
  if (!library()) return;
  DecodeRequest request;
  request.resize = Size{16, 16};
  for (const Bytes& file : files()) {
    for (std::size_t size = 0; size < file.size(); size += size < 200 ? 1 : 7) {
      CHECK_THROWS_AS(decode_png(ExactBytes(file, size).span(), request), InvalidInput);
    }
  }
}

TEST_CASE("pixels that are cut off within whole chunks are refused") {
  if (!library()) return;
  const Bytes& file = files()[0];  // of one chunk of pixels
  const std::size_t pixels = file.size() - 8 - 25 - 12 - 12;
  for (std::size_t size = 0; size < pixels; size += 11) {
    Bytes cut(file.begin(), file.begin() + 33);
    const Bytes chunk = png_chunk("IDAT", {file.begin() + 41, file.begin() + 41 + static_cast<std::ptrdiff_t>(size)});
    cut.insert(cut.end(), chunk.begin(), chunk.end());
    cut.insert(cut.end(), file.end() - 12, file.end());
    CHECK_THROWS_WITH_AS(decode_png(cut), "cannot be decoded", InvalidInput);
  }
}

TEST_CASE("what is asked for is checked before the first row") {
  if (!library()) return;
  DecodeRequest request;
  request.expected = {40, 57};
  CHECK_THROWS_AS(decode_png(files()[0], request), InvalidInput);
  request = {};
  request.most_pixels = 40 * 56 - 1;
  CHECK_THROWS_AS(decode_png(files()[0], request), InvalidInput);
  request = {};
  request.resize = Size{0, 16};
  CHECK_THROWS_AS(decode_png(files()[0], request), InvalidInput);
  request.resize = Size{16, 16};
  request.alpha = Alpha::kReject;
  CHECK(decode_png(files()[0], request).view.size() == Size{16, 16});
  CHECK_THROWS_WITH_AS(decode_png(files()[1], request), "has an alpha channel", InvalidInput);
  request.processor = Processor::kTorchvision;
  request.filter = Filter::kLanczos;
  CHECK_THROWS_AS(decode_png(files()[0], request), InvalidInput);
}

TEST_CASE("chunks beside the pixels are limited in number and size") {
  if (!library()) return;
  const Bytes text{'A', 0, 'b'};
  Bytes many = files()[0];
  const Bytes chunk = png_chunk("tEXt", text);
  Bytes chunks;
  for (std::int32_t i = 0; i < kMostPngChunks; ++i) chunks.insert(chunks.end(), chunk.begin(), chunk.end());
  many.insert(many.begin() + 33, chunks.begin(), chunks.end());
  CHECK(decode_png(many).view.size() == kSize);
  CHECK_THROWS_WITH_AS(decode_png(with_chunk(many, "tEXt", text)), "more than 4096 chunks", InvalidInput);
  const Bytes large(kMostPngChunkBytes, 'a');
  CHECK(decode_png(with_chunk(files()[0], "iCCP", large)).view.size() == kSize);
  CHECK_THROWS_WITH_AS(decode_png(with_chunk(files()[0], "iCCP", Bytes(kMostPngChunkBytes + 1, 'a'))),
                       "a chunk of 8000001 bytes", InvalidInput);
}

TEST_CASE("chunks in the wrong place, or damaged, are refused") {
  if (!library()) return;
  const Bytes& rgb = files()[0];
  CHECK_THROWS_AS(decode_png(with_late_chunk(rgb, "PLTE", Bytes(6))), InvalidInput);
  CHECK_THROWS_AS(decode_png(with_late_chunk(rgb, "tRNS", Bytes(6))), InvalidInput);
  CHECK_THROWS_AS(decode_png(with_late_chunk(with_late_chunk(rgb, "tIME", Bytes(7)), "IDAT", Bytes(6))), InvalidInput);
  CHECK_THROWS_AS(decode_png(with_chunk(rgb, "tRNS", Bytes(5))), InvalidInput);
  CHECK_THROWS_AS(decode_png(with_chunk(rgb, "ABCD", Bytes(5))), InvalidInput);  // critical, and nobody knows it
  Bytes broken = with_chunk(rgb, "tEXt", {'A', 0, 'b'});
  broken[33 + 10] ^= 1;
  CHECK_THROWS_AS(decode_png(broken), InvalidInput);  // its checksum
  CHECK(decode_png(with_chunk(rgb, "tEXt", {'A', 0, 'b'})).view.size() == kSize);
}

TEST_CASE("late metadata is told from texts that say nothing of the image") {
  const Bytes& rgb = files()[0];
  const auto text = [](const std::string& name) { return Bytes(name.begin(), name.end()); };
  CHECK(!has_late_png_metadata(rgb));
  CHECK(!has_late_png_metadata(with_chunk(rgb, "eXIf", text("II*"))));
  CHECK(!has_late_png_metadata(with_late_chunk(rgb, "tEXt", text("date:create"))));
  CHECK(!has_late_png_metadata(with_late_chunk(rgb, "tEXt", text("Software"))));
  CHECK(!has_late_png_metadata(with_late_chunk(rgb, "tIME", Bytes(7))));
  CHECK(has_late_png_metadata(with_late_chunk(rgb, "tEXt", text("exif"))));
  CHECK(has_late_png_metadata(with_late_chunk(rgb, "tEXt", Bytes(1 << 20, 'a'))));
  for (const char* kind : {"eXIf", "iTXt", "zTXt", "iCCP", "fcTL", "prVt"}) {
    CHECK(has_late_png_metadata(with_late_chunk(rgb, kind, text("Software"))));
  }
}

TEST_CASE("mutated files give an image or InvalidInput, also if their checksums are right") {
  std::mt19937 random(18);
  long images = 0;
  long damaged = 0;
  PreprocessSpec preprocess;
  preprocess.orientation = Orientation::kApply;
  for (long i = 0; library() && i < fuzz_count(); ++i) {
    const Bytes& whole = files()[drawn(random, files().size() - 1)];
    Bytes changed = drawn(random, 2) == 0 ? mutated(whole, 60, random) : with_mutated_chunk(whole, random);
    if (drawn(random, 1) == 0) changed = with_checksums(std::move(changed));
    const ExactBytes file(changed);
    DecodeRequest request;
    request.most_pixels = 1 << 18;
    if (drawn(random, 1) == 0) request.resize = Size{1 + static_cast<std::int32_t>(drawn(random, 60)), 16};
    if (drawn(random, 1) == 0) request.alpha = Alpha::kComposite;
    const std::shared_ptr<ImageSource> source = file_source(file.span());
    try {
      (void)decode_png(file.span(), request);
      ++images;
      (void)source->open({preprocess, [&](Size) { return request.resize; }});
      (void)source->decode();
    } catch (const InvalidInput&) {
      ++damaged;
    }
  }
  CHECK(((images > fuzz_count() / 20 && damaged > images) || !library()));
}
