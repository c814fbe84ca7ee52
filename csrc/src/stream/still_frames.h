// Frames of a camera that shows what it showed before (docs/streaming.md#still-frames).
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

#include "navit_edge/content.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/stream.h"
#include "sizing/small_copy.h"

namespace navit_edge {

/// Finds the frames that are as the last key frame was. Thread-safe: frames count in the order of the calls.
class StillFrames {
 public:
  /// Borrows `preprocess`. Throws InvalidInput for options that make no sense.
  StillFrames(const StillOptions& options, const PreprocessSpec& preprocess);

  /// By what the result of a frame is remembered: a key frame's own, or that of the key frame that it is as. None of an
  /// image that cannot be read, since whoever runs it says why, and of two frames in one.
  std::optional<Content> content_of(const ImageView& frame);

 private:
  using Line = std::array<std::uint8_t, kSmallCopySide>;
  struct Key {
    Size size{};
    std::int32_t rows = 0;  // of the copy
    std::int32_t cols = 0;
    std::array<Line, kSmallCopySide> luma{};
    ContentDigest digest{};
  };
  [[nodiscard]] bool still(const Key& frame) const;

  const StillOptions options_;
  const PreprocessSpec* preprocess_;
  std::mutex mutex_;
  Key key_;
  Key frame_;
  std::int64_t since_ = 0;  // frames since the key frame
};

}  // namespace navit_edge
