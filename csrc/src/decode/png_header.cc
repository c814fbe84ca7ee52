#include "decode/png_header.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/png.h"

namespace navit_edge {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::string_view kPngSignature{"\x89PNG\r\n\x1a\n", 8};
/// Of text behind the pixels.
constexpr std::size_t kMostLateTextBytes = std::size_t{1} << 20;

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::uint32_t big_endian(Bytes bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | bytes[at + i];
  return value;
}

[[noreturn]] void refuse_png(const std::string& what) {
  throw InvalidInput("is a PNG file that " + what + "; expected a whole one; save it anew");
}

/// What is before the first zero, and behind it.
std::pair<std::string_view, Bytes> split(Bytes bytes) {
  const auto zero = std::find(bytes.begin(), bytes.end(), std::uint8_t{0});
  const auto size = static_cast<std::size_t>(zero - bytes.begin());
  return {text_of(bytes.first(size)), zero == bytes.end() ? Bytes{} : bytes.subspan(size + 1)};
}

/// Names of texts that no reader takes for metadata of the pixels: those of the standard, 11.3.3.1, and ImageMagick's.
bool is_plain_text(std::string_view name) {
  constexpr std::string_view kNames[] = {"Title",    "Author",     "Description", "Copyright", "Creation Time",
                                         "Software", "Disclaimer", "Warning",     "Source",    "Comment"};
  return name.starts_with("date:") || name.starts_with("png:") ||
         std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

class PngChunks {
 public:
  explicit PngChunks(Bytes file) : file_(file) {}

  PngHeader read() {
    at_ = kPngSignature.size();
    next();
    if (kind_ != "IHDR") refuse_png("does not begin with its header");
    take_header();
    while (kind_ != "IEND") {
      next();
      if (kind_ == "IDAT") {
        if (state_ == State::kBehind) refuse_png("has pixels in several places");
        state_ = State::kPixels;
      } else if (state_ == State::kPixels) {
        state_ = State::kBehind;
      }
      if (kind_ != "IDAT" && kind_ != "IEND") take();
    }
    if (state_ == State::kBefore) refuse_png("has no pixels");
    if (header_.colour == PngColour::kPalette && header_.palette.empty()) refuse_png("has no palette");
    return header_;
  }

 private:
  enum class State { kBefore, kPixels, kBehind };

  void next() {
    if (file_.size() - at_ < 12) refuse_png("ends before its last chunk");
    const std::uint32_t length = big_endian(file_, at_);
    kind_ = text_of(file_.subspan(at_ + 4, 4));
    if (length > file_.size() - at_ - 12) refuse_png("ends within a chunk");
    chunk_ = file_.subspan(at_ + 8, length);
    at_ += std::size_t{12} + length;
    if (!ancillary_kind()) return;
    if (++ancillary_ > kMostPngChunks) {
      throw InvalidInput("is a PNG file with more than " + std::to_string(kMostPngChunks) +
                         " chunks beside its pixels; expected at most that many; save it anew");
    }
    if (length > kMostPngChunkBytes) {
      throw InvalidInput("is a PNG file with a chunk of " + std::to_string(length) +
                         " bytes beside its pixels; expected at most " + std::to_string(kMostPngChunkBytes) +
                         "; save it anew");
    }
  }

  /// Whether decoders that do not know the chunk may leave it out.
  [[nodiscard]] bool ancillary_kind() const noexcept { return (static_cast<std::uint8_t>(kind_[0]) & 0x20) != 0; }

  void take_header() {
    if (chunk_.size() != 13) refuse_png("has a damaged header");
    const std::uint32_t width = big_endian(chunk_, 0);
    const std::uint32_t height = big_endian(chunk_, 4);
    constexpr std::uint32_t kMost = 0x7FFFFFFF;
    if (width < 1 || height < 1 || width > kMost || height > kMost) refuse_png("has a damaged header");
    header_.size = {static_cast<std::int32_t>(height), static_cast<std::int32_t>(width)};
    header_.bits = chunk_[8];
    header_.colour = static_cast<PngColour>(chunk_[9]);
    const std::int32_t bits = header_.bits;
    const bool small = bits == 1 || bits == 2 || bits == 4;
    const bool known = header_.colour == PngColour::kGray      ? small || bits == 8 || bits == 16
                       : header_.colour == PngColour::kPalette ? small || bits == 8
                       : header_.colour == PngColour::kRgb || header_.colour == PngColour::kGrayAlpha ||
                               header_.colour == PngColour::kRgba
                           ? bits == 8 || bits == 16
                           : false;
    if (!known || chunk_[10] != 0 || chunk_[11] != 0 || chunk_[12] > 1) refuse_png("has a damaged header");
    header_.interlaced = chunk_[12] == 1;
  }

  void take() {
    const bool late = state_ == State::kBehind;
    if (kind_ == "PLTE" || kind_ == "tRNS") {
      if (late) refuse_png("has colours behind its pixels");
      if (kind_ == "PLTE") take_palette();
      if (kind_ == "tRNS") take_transparency();
    } else if (kind_ == "iCCP") {
      header_.has_profile = true;
    } else if (kind_ == "eXIf") {
      header_.exif = chunk_;
    } else if (kind_ == "tEXt" || kind_ == "zTXt" || kind_ == "iTXt") {
      take_text();
    } else if (!ancillary_kind()) {
      refuse_png("has a second header, or a chunk that it cannot be read without and that nobody knows");
    }
    if (!late || kind_ == "tIME") return;
    late_text_bytes_ += chunk_.size();
    const bool plain = kind_ == "tEXt" && is_plain_text(split(chunk_).first) && late_text_bytes_ < kMostLateTextBytes;
    header_.has_late_metadata = header_.has_late_metadata || !plain;
  }

  void take_palette() {
    if (chunk_.size() % 3 != 0 || chunk_.empty() || chunk_.size() > std::size_t{3} * 256) {
      refuse_png("has a damaged palette");
    }
    if (header_.colour == PngColour::kPalette) header_.palette = chunk_;
  }

  void take_transparency() {
    const bool of_palette = header_.colour == PngColour::kPalette;
    const std::size_t entries = header_.palette.size() / 3;
    const std::size_t wanted = header_.colour == PngColour::kGray ? 2 : header_.colour == PngColour::kRgb ? 6 : 0;
    const bool fits = of_palette ? !chunk_.empty() && chunk_.size() <= entries : chunk_.size() == wanted;
    if (!fits || header_.transparency.has_value()) refuse_png("has damaged transparency");
    header_.transparency = chunk_;
  }

  void take_text() {
    const auto [name, behind] = split(chunk_);
    PngText* const to = name == "Raw profile type exif" ? &header_.exif_text
                        : name == "XML:com.adobe.xmp"   ? &header_.xmp
                                                        : nullptr;
    if (to == nullptr) return;
    if (kind_ == "tEXt") {
      *to = {behind, false};
    } else if (kind_ == "zTXt") {
      if (!behind.empty()) *to = {behind.subspan(1), true};
    } else if (behind.size() >= 2) {  // flag, method, language, translated name
      *to = {split(split(behind.subspan(2)).second).second, behind[0] != 0};
    }
  }

  Bytes file_;
  std::size_t at_ = 0;
  PngHeader header_;
  State state_ = State::kBefore;
  std::string_view kind_;
  Bytes chunk_;
  std::int32_t ancillary_ = 0;
  std::size_t late_text_bytes_ = 0;
};

}  // namespace

bool is_png(Bytes file) noexcept {
  return file.size() >= kPngSignature.size() && text_of(file.first(kPngSignature.size())) == kPngSignature;
}

PngHeader read_png_header(Bytes file) {
  if (!is_png(file)) throw InvalidInput("is no PNG file by its first bytes; expected one");
  return PngChunks(file).read();
}

}  // namespace navit_edge
