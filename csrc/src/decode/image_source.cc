#include "navit_edge/image_source.h"

#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "bundle/regular_file.h"
#include "decode/jpeg_header.h"
#include "decode/turn.h"
#include "navit_edge/error.h"
#include "navit_edge/jpeg.h"

namespace navit_edge {
namespace {

/// A file on disk, until it is read; then its bytes.
class JpegSource final : public ImageSource {
 private:
  /// Errors say which file it is.
  template <class Body>
  auto named(Body&& body) const {
    try {
      return body();
    } catch (const Error& error) {
      if (path_.empty()) throw InvalidInput("the image file: " + std::string(error.what()));
      const std::string what = error.what();
      const bool names_it = what.find(path_.string()) != std::string::npos;
      throw InvalidInput(names_it ? what : path_.string() + ": " + what);
    }
  }

 public:
  explicit JpegSource(std::filesystem::path path) : path_(std::move(path)) {}
  JpegSource(std::span<const std::uint8_t> file, std::shared_ptr<const void> owner)
      : file_(file), owner_(std::move(owner)) {}

  [[nodiscard]] std::uint64_t held_bytes() const noexcept override { return file_.size(); }

  std::uint64_t open(const DecodeTarget& target) override {
    return named([&] {
      if (open_jpeg_library().path.empty()) {
        throw InvalidInput("JPEG files cannot be decoded here: " + open_jpeg_library().why_not);
      }
      read();
      header_ = read_jpeg_header(file_);
      check(target.preprocess);
      options_.filter = target.preprocess.filter;
      options_.processor = target.preprocess.processor;
      options_.decode = target.decode;
      options_.expected = header_.size;
      options_.most_pixels = kMostJpegPixels;
      if (target.preprocess.orientation == Orientation::kAsDecoded) header_.orientation = 1;
      if (header_.orientation == 1) options_.resize = target.resized_size(header_.size);
      const Size size = options_.resize.value_or(header_.size);
      const auto pixels = static_cast<std::uint64_t>(size.height_px) * static_cast<std::uint64_t>(size.width_px);
      return pixels * static_cast<std::uint64_t>(header_.components);
    });
  }

  OwnedImage decode() override {
    return named([&] {
      JpegImage image = decode_jpeg(file_, options_);
      forget();
      if (header_.orientation == 1) return owned(image.view, std::move(image.pixels));
      const auto bytes = static_cast<std::size_t>(image.view.stride()) * static_cast<std::size_t>(image.view.height_px);
      std::unique_ptr<std::uint8_t[]> pixels(new std::uint8_t[bytes]);
      const ImageView turned = turned_upright(image.view, header_.orientation, pixels.get());
      return owned(turned, std::move(pixels));
    });
  }

 private:
  static OwnedImage owned(const ImageView& view, std::unique_ptr<std::uint8_t[]> pixels) {
    return {view, std::shared_ptr<const std::uint8_t[]>(std::move(pixels))};
  }

  void read() {
    if (path_.empty()) return;
    std::error_code missing;
    const std::filesystem::path found = std::filesystem::canonical(path_, missing);  // links are followed
    text_ = read_regular_file(missing ? path_ : found, kMostJpegBytes, "check the path");
    file_ = {reinterpret_cast<const std::uint8_t*>(text_.data()), text_.size()};
  }

  void check(const PreprocessSpec& preprocess) const {
    const std::string size =
        std::to_string(header_.size.height_px) + " x " + std::to_string(header_.size.width_px) + " pixels";
    if (header_.components != 1 && header_.components != 3) {
      throw InvalidInput("has " + std::to_string(header_.components) +
                         " channels; expected 1 or 3, gray or colour; convert it to RGB");
    }
    if (std::int64_t{header_.size.height_px} * header_.size.width_px > kMostJpegPixels) {
      throw InvalidInput("has " + size + " (height x width); expected at most " + std::to_string(kMostJpegPixels) +
                         " in all; make it smaller");
    }
    if (header_.has_profile && preprocess.icc == Icc::kSrgb) {
      throw InvalidInput(
          "has a colour profile, and the bundle's images are converted to sRGB; expected a file without one; convert "
          "it, or submit its pixels");
    }
  }

  /// The bytes are not needed any more.
  void forget() noexcept {
    file_ = {};
    text_ = {};
    owner_.reset();
  }

  std::filesystem::path path_;  // empty: of bytes
  std::string text_;
  std::span<const std::uint8_t> file_;
  std::shared_ptr<const void> owner_;
  JpegHeader header_;
  JpegOptions options_;
};

}  // namespace

ImageSource::~ImageSource() = default;

std::shared_ptr<ImageSource> jpeg_source(const std::filesystem::path& path) {
  if (path.empty()) throw InvalidInput("the path of an image file is empty; expected one");
  return std::make_shared<JpegSource>(path);
}

std::shared_ptr<ImageSource> jpeg_source(std::span<const std::uint8_t> file, std::shared_ptr<const void> owner) {
  if (file.empty()) throw InvalidInput("the image file is empty, 0 bytes; expected a JPEG file");
  return std::make_shared<JpegSource>(file, std::move(owner));
}

}  // namespace navit_edge
