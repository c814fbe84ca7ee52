// Image sources for tests: pixels that are there, and steps that wait until they may go on.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "navit_edge/image_source.h"
#include "support/session_fixture.h"

namespace navit_edge {

/// Holds who comes until it is opened; counts them.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++came_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  /// Until `count` have come.
  bool await(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return came_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int came_ = 0;
};

/// What sources of one test have done.
struct SourceCounts {
  std::atomic<int> opened{0};
  std::atomic<int> decoded{0};
  std::atomic<int> alive{0};
  std::atomic<std::int64_t> pixel_bytes{0};  // that are held now
  std::atomic<std::int64_t> most_bytes{0};
};

/// Gives a picture's pixels, as if they had been decoded. What `in_open` and `in_decode` do happens there.
class PictureSource final : public ImageSource {
 public:
  PictureSource(const Picture& picture, std::shared_ptr<SourceCounts> counts)
      : picture_(&picture), counts_(std::move(counts)) {
    ++counts_->alive;
  }
  ~PictureSource() override { --counts_->alive; }

  std::optional<ContentDigest> digest() override { return known_by; }
  void recalled(const std::string& note) override { recalled_note = note; }
  std::uint64_t open(const DecodeTarget& target) override {
    ++counts_->opened;
    if (in_open) in_open(target);
    return bytes();
  }
  OwnedImage decode() override {
    const auto more = static_cast<std::int64_t>(bytes());
    const std::int64_t held = counts_->pixel_bytes += more;
    std::int64_t most = counts_->most_bytes;
    while (held > most && !counts_->most_bytes.compare_exchange_weak(most, held)) {
    }
    ++counts_->decoded;
    const std::shared_ptr<const void> owner(picture_,
                                            [counts = counts_, more](const void*) { counts->pixel_bytes -= more; });
    if (in_decode) in_decode();
    return {picture_->view, owner};
  }
  std::string note() override { return noted; }

  std::function<void(const DecodeTarget&)> in_open;
  std::function<void()> in_decode;
  std::optional<ContentDigest> known_by;
  std::string noted;
  std::string recalled_note;

 private:
  [[nodiscard]] std::uint64_t bytes() const { return picture_->pixels.size(); }

  const Picture* picture_;
  std::shared_ptr<SourceCounts> counts_;
};

/// Of one test.
struct Sources {
  std::shared_ptr<SourceCounts> counts = std::make_shared<SourceCounts>();

  [[nodiscard]] std::shared_ptr<PictureSource> of(const Picture& picture) const {
    return std::make_shared<PictureSource>(picture, counts);
  }
  /// One that waits in `decode` for the gate.
  [[nodiscard]] std::shared_ptr<PictureSource> of(const Picture& picture, Gate& gate) const {
    auto source = of(picture);
    source->in_decode = [&gate] { gate.pass(); };
    return source;
  }
};

}  // namespace navit_edge
