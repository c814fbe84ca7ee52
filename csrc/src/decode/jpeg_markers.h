// The markers of a JPEG file, one after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace navit_edge {

inline constexpr std::uint8_t kJpegScan = 0xDA;

struct JpegMarker {
  std::uint8_t code;
  std::span<const std::uint8_t> segment;  // behind its length, as far as the file goes; empty if it stands alone
};

/// Borrows the file.
class JpegMarkers {
 public:
  explicit JpegMarkers(std::span<const std::uint8_t> file) : at_(file.data()), end_(file.data() + file.size()) {}

  /// The next one that has a segment; none at the end of the image or of the file. What lies between markers, coded
  /// pixels or garbage, is passed over as decoders do.
  std::optional<JpegMarker> next();

 private:
  const std::uint8_t* at_;
  const std::uint8_t* const end_;
};

}  // namespace navit_edge
