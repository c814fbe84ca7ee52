// Room for the pixels that a session's threads decode.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

namespace navit_edge {

/// Bytes of pixels from before they are decoded until they have been read. Thread-safe; its mutex is the last of all.
class PixelRoom : public std::enable_shared_from_this<PixelRoom> {
 public:
  /// Gives the bytes back when the last copy goes.
  using Held = std::shared_ptr<const void>;

  explicit PixelRoom(std::uint64_t most_bytes) : most_(most_bytes) {}

  /// Waits for room; one image is always let in. Null once `given_up` is true, which `wake` tells.
  Held take(std::uint64_t bytes, const std::atomic<bool>& given_up) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return given_up || most_ == 0 || held_ == 0 || held_ + bytes <= most_; });
    if (given_up) return nullptr;
    struct Share {
      std::shared_ptr<PixelRoom> room;
      std::uint64_t bytes;
      ~Share() {
        if (room != nullptr) room->give_back(bytes);
      }
    };
    auto share = std::make_shared<Share>(nullptr, bytes);
    share->room = shared_from_this();
    held_ += bytes;
    return share;
  }
  void wake() noexcept {
    const std::lock_guard lock(mutex_);  // who waits has looked at `given_up` before, or will after
    changed_.notify_all();
  }
  [[nodiscard]] std::uint64_t held() const noexcept {
    const std::lock_guard lock(mutex_);
    return held_;
  }

 private:
  void give_back(std::uint64_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    held_ -= bytes;
    changed_.notify_all();
  }

  const std::uint64_t most_;  // 0: no limit
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t held_ = 0;
};

}  // namespace navit_edge
