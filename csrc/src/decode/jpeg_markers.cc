#include "decode/jpeg_markers.h"

#include <cstddef>
#include <cstring>

namespace navit_edge {
namespace {

constexpr std::uint8_t kEnd = 0xD9;

/// Markers that stand alone, without a length: TEM, RST0 to RST7, SOI.
bool stands_alone(std::uint8_t code) { return code == 0x01 || (code >= 0xD0 && code <= 0xD8); }

}  // namespace

std::optional<JpegMarker> JpegMarkers::next() {
  while (at_ < end_) {
    at_ = static_cast<const std::uint8_t*>(std::memchr(at_, 0xFF, static_cast<std::size_t>(end_ - at_)));
    if (at_ == nullptr) break;
    while (at_ < end_ && *at_ == 0xFF) ++at_;
    if (at_ == end_) break;
    const std::uint8_t code = *at_++;
    if (code == 0 || stands_alone(code)) continue;
    if (code == kEnd) break;
    JpegMarker marker{code, {}};
    if (end_ - at_ < 2) {
      at_ = end_;
      return marker;
    }
    const std::ptrdiff_t length = at_[0] * 256 + at_[1];
    const std::uint8_t* const behind = length < end_ - at_ ? at_ + length : end_;
    if (length > 2) marker.segment = {at_ + 2, behind};
    at_ = behind;
    return marker;
  }
  at_ = end_;
  return std::nullopt;
}

}  // namespace navit_edge
