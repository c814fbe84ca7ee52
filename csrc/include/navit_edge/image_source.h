// Images that are not decoded yet: a session takes them at once and decodes them on threads of its own
// (docs/inputs.md#decoded-by-the-session).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "navit_edge/content.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// What a session asks of who decodes for it.
struct DecodeTarget {
  /// Filter and processor of the resize; orientation and icc, which are the decoder's to heed. Of the bundle.
  const PreprocessSpec& preprocess;
  /// What an upright image of this size may be resized to while it is decoded; none: give all of its pixels. As
  /// Session::resized_size under the image's policy.
  std::function<std::optional<Size>(Size)> resized_size;
  Decode decode = Decode::kExact;  // of the session, or of the bundle
};

/// One image file, or whatever else becomes pixels; for formats that file_source does not take derive one of your own.
/// A session calls it from one of its threads, each member once at most, in the order in which they stand here. What
/// they throw is the image's own error. It is destroyed on any thread, and must not wait there for one that calls the
/// session.
class NAVIT_EDGE_API ImageSource {
 public:
  virtual ~ImageSource();

  /// Bytes that it holds until it is decoded, as the queue counts them. On the thread that submits it.
  [[nodiscard]] virtual std::uint64_t held_bytes() const noexcept { return 0; }
  /// Of a session that remembers results: what the image is known by before it is decoded (Content::digest).
  virtual std::optional<ContentDigest> digest() { return std::nullopt; }
  /// Instead of what follows: the result was remembered, and this was noted with it.
  virtual void recalled(const std::string& note) { (void)note; }
  /// Reads the header and checks limits. The bytes that the pixels will take.
  virtual std::uint64_t open(const DecodeTarget& target) = 0;
  /// The pixels; ImageView::resized_from is set if they were resized.
  virtual OwnedImage decode() = 0;
  /// What is noted with the result, if it is remembered by `digest` (Content::note).
  virtual std::string note() { return {}; }

 protected:
  ImageSource() = default;
  ImageSource(const ImageSource&) = default;
  ImageSource& operator=(const ImageSource&) = default;
};

/// Largest file and image that file_source takes.
inline constexpr std::uint64_t kMostFileBytes = std::uint64_t{1} << 30;
inline constexpr std::int64_t kMostFilePixels = std::int64_t{1} << 28;

/// A JPEG or PNG file, by its first bytes; decoded as decode_jpeg and decode_png have it, by the libraries that
/// open_jpeg_library and open_png_library have found. Turned upright by its EXIF or XMP if the bundle says so; of
/// several pictures the first. Its error says what else it is: another format, CMYK, damaged or cut off, larger than
/// the limits above, or with a colour profile where the bundle converts those (Icc::kSrgb). A path is a regular file
/// that is read when its turn comes: leave it until then.
NAVIT_EDGE_API std::shared_ptr<ImageSource> file_source(const std::filesystem::path& path);
/// The same of a file in memory, which `owner` keeps alive and unchanged; null if the caller sees to that.
NAVIT_EDGE_API std::shared_ptr<ImageSource> file_source(std::span<const std::uint8_t> file,
                                                        std::shared_ptr<const void> owner = nullptr);

}  // namespace navit_edge
