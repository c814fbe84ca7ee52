#include "stream/still_frames.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/index.h"
#include "navit_edge/error.h"
#include "navit_edge/option_range.h"
#include "pixels/image_check.h"

namespace navit_edge {
namespace {

/// That of no other content: hashes do not begin so.
ContentDigest next_digest() {
  static std::atomic<std::uint64_t> count{0};
  const std::uint64_t number = ++count;
  ContentDigest digest{};
  constexpr char kName[] = "navit-edge key frame";
  std::memcpy(digest.data(), kName, sizeof(kName));
  std::memcpy(digest.data() + digest.size() - sizeof(number), &number, sizeof(number));
  return digest;
}

}  // namespace

StillFrames::StillFrames(const StillOptions& options, const PreprocessSpec& preprocess)
    : options_(options), preprocess_(&preprocess) {
  check_option("still_levels", options.levels);
  check_option("still_share", options.share);
  check_option("still_every", static_cast<double>(options.every));
}

std::optional<Content> StillFrames::content_of(const ImageView& frame) {
  try {
    check_image(frame, "the frame", *preprocess_);
  } catch (const InvalidInput&) {
    return std::nullopt;
  }
  if (frame.next_frame != nullptr) return std::nullopt;
  const std::lock_guard lock(mutex_);
  SmallCopy copy(frame, *preprocess_);
  frame_.size = frame.size();
  frame_.rows = copy.rows();
  frame_.cols = copy.cols();
  for (std::int32_t i = 0; i < copy.rows(); ++i) {
    copy.luma(i, frame_.luma[index(i)].data());
  }
  ++since_;
  if ((options_.every > 0 && since_ >= options_.every) || !still(frame_)) {
    frame_.digest = next_digest();
    std::swap(key_, frame_);
    since_ = 0;
  }
  return Content{key_.digest, ""};
}

bool StillFrames::still(const Key& frame) const {
  if (frame.size != key_.size) return false;
  std::int64_t changed = 0;
  for (std::size_t i = 0; i < index(frame.rows); ++i) {
    for (std::size_t x = 0; x < index(frame.cols); ++x) {
      changed += std::abs(frame.luma[i][x] - key_.luma[i][x]) > options_.levels ? 1 : 0;
    }
  }
  return static_cast<double>(changed) <= options_.share * frame.rows * frame.cols;
}

}  // namespace navit_edge
