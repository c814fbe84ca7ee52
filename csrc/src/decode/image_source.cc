#include "navit_edge/image_source.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "bundle/regular_file.h"
#include "decode/jpeg_header.h"
#include "decode/png_header.h"
#include "decode/png_orientation.h"
#include "decode/turn.h"
#include "navit_edge/error.h"
#include "navit_edge/jpeg.h"
#include "navit_edge/png.h"

namespace navit_edge {
namespace {

/// A file on disk, until it is read; then its bytes.
class FileSource final : public ImageSource {
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
  explicit FileSource(std::filesystem::path path) : path_(std::move(path)) {}
  FileSource(std::span<const std::uint8_t> file, std::shared_ptr<const void> owner)
      : file_(file), owner_(std::move(owner)) {}

  [[nodiscard]] std::uint64_t held_bytes() const noexcept override { return file_.size(); }

  std::uint64_t open(const DecodeTarget& target) override {
    return named([&] {
      read();
      read_header(target.preprocess);
      check(target.preprocess);
      request_.filter = target.preprocess.filter;
      request_.processor = target.preprocess.processor;
      request_.alpha = target.preprocess.alpha;
      request_.background = target.preprocess.background;
      request_.decode = target.decode;
      request_.expected = size_;
      request_.most_pixels = kMostFilePixels;
      if (orientation_ == 1) request_.resize = target.resized_size(size_);
      const Size size = interlaced_ ? size_ : request_.resize.value_or(size_);
      const auto pixels = static_cast<std::uint64_t>(size.height_px) * static_cast<std::uint64_t>(size.width_px);
      return pixels * static_cast<std::uint64_t>(request_.resize ? std::min(channels_, std::int32_t{3}) : channels_);
    });
  }

  OwnedImage decode() override {
    return named([&] {
      DecodedFile image = png_ ? decode_png(file_, request_) : decode_jpeg(file_, request_);
      forget();
      if (orientation_ == 1) return owned(image.view, std::move(image.pixels));
      const auto bytes = static_cast<std::size_t>(image.view.stride()) * static_cast<std::size_t>(image.view.height_px);
      std::unique_ptr<std::uint8_t[]> pixels(new std::uint8_t[bytes]);
      const ImageView turned = turned_upright(image.view, orientation_, pixels.get());
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
    text_ = read_regular_file(missing ? path_ : found, kMostFileBytes, "check the path");
    file_ = {reinterpret_cast<const std::uint8_t*>(text_.data()), text_.size()};
  }

  void read_header(const PreprocessSpec& preprocess) {
    png_ = is_png(file_);
    if (!png_ && !is_jpeg(file_)) {
      throw InvalidInput(
          "is neither a JPEG nor a PNG file by its first bytes; expected one; decode other formats with a library of "
          "yours");
    }
    const DecoderLibrary& library = png_ ? open_png_library() : open_jpeg_library();
    if (library.path.empty()) {
      throw InvalidInput(std::string(png_ ? "PNG" : "JPEG") + " files cannot be decoded here: " + library.why_not);
    }
    const bool turns = preprocess.orientation == Orientation::kApply;
    if (png_) {
      const PngHeader header = read_png_header(file_);
      size_ = header.size;
      channels_ = header.channels();
      has_profile_ = header.has_profile;
      interlaced_ = header.interlaced;
      if (turns) orientation_ = png_orientation(header);
    } else {
      const JpegHeader header = read_jpeg_header(file_);
      size_ = header.size;
      channels_ = header.components;
      has_profile_ = header.has_profile;
      if (turns) orientation_ = header.orientation;
    }
  }

  void check(const PreprocessSpec& preprocess) const {
    if (!png_ && channels_ != 1 && channels_ != 3) {
      throw InvalidInput("has " + std::to_string(channels_) +
                         " channels; expected 1 or 3, gray or colour; convert it to RGB");
    }
    if (std::int64_t{size_.height_px} * size_.width_px > kMostFilePixels) {
      throw InvalidInput("has " + std::to_string(size_.height_px) + " x " + std::to_string(size_.width_px) +
                         " pixels (height x width); expected at most " + std::to_string(kMostFilePixels) +
                         " in all; make it smaller");
    }
    if (has_profile_ && preprocess.icc == Icc::kSrgb) {
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
  bool png_ = false;  // else JPEG
  Size size_{};       // of the stored image
  std::int32_t channels_ = 0;
  std::int32_t orientation_ = 1;
  bool interlaced_ = false;  // all of its pixels are in memory at once
  bool has_profile_ = false;
  DecodeRequest request_;
};

}  // namespace

ImageSource::~ImageSource() = default;

std::shared_ptr<ImageSource> file_source(const std::filesystem::path& path) {
  if (path.empty()) throw InvalidInput("the path of an image file is empty; expected one");
  return std::make_shared<FileSource>(path);
}

std::shared_ptr<ImageSource> file_source(std::span<const std::uint8_t> file, std::shared_ptr<const void> owner) {
  if (file.empty()) throw InvalidInput("the image file is empty, 0 bytes; expected a JPEG or PNG file");
  return std::make_shared<FileSource>(file, std::move(owner));
}

}  // namespace navit_edge
