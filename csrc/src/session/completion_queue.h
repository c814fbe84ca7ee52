// Results on their way to the callbacks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "session/queue.h"

namespace navit_edge {

/// Hands results over and releases pixels, both on a thread of its own: what a callback does, or the owner of an image
/// when it goes (a Python object wants the interpreter), holds up no engine. Thread-safe.
class CompletionQueue {
 public:
  /// What takes the images back whose callbacks were called, a list over `behind`.
  using TakeBack = std::function<void(PendingImage* first, std::size_t count)>;

  /// Has the callback of `image` called with its result. The queue's until it is taken back.
  void put(PendingImage& image);
  /// The same of a list over `twin`, which may be empty.
  void put_twins(PendingImage* first);
  /// Takes the owners of images that have been read for the last time; if memory has run out, with their results.
  void release(const std::vector<PendingImage*>& images) noexcept;
  /// Images that were put and not taken back.
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  /// Callbacks that threw.
  [[nodiscard]] std::uint64_t threw() const noexcept { return threw_.load(std::memory_order_relaxed); }

  /// The thread: returns when `finish` was called and nothing is left.
  void serve(const TakeBack& take_back);
  void finish();

 private:
  void deliver(PendingImage& image) noexcept;

  std::mutex mutex_;
  std::condition_variable changed_;
  PendingImage* first_ = nullptr;
  PendingImage* last_ = nullptr;
  std::vector<std::shared_ptr<const void>> owners_;
  bool finishing_ = false;
  std::atomic<std::size_t> size_{0};
  std::atomic<std::uint64_t> threw_{0};
};

}  // namespace navit_edge
