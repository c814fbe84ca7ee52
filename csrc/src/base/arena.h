// One block of memory, cut into pieces once.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

namespace navit_edge {

/// Pieces are 64-byte aligned and the arena's: they go with it, and with nothing else. The system gives pages of a
/// large block when they are first written to.
class Arena {
 public:
  static constexpr std::size_t kAlignment = 64;
  /// Bytes that a piece of `bytes` takes.
  static constexpr std::size_t rounded(std::size_t bytes) noexcept {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  Arena() = default;
  /// Throws std::bad_alloc.
  explicit Arena(std::size_t bytes) : bytes_(rounded(bytes)) {
    if (bytes_ == 0) return;
    block_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes_)));
    if (block_ == nullptr) throw std::bad_alloc();
  }

  /// The next piece; empty if the arena has not that much left.
  std::span<std::byte> take(std::size_t bytes) noexcept {
    if (rounded(bytes) > bytes_ - taken_) return {};
    std::byte* const piece = block_.get() + taken_;
    taken_ += rounded(bytes);
    return {piece, rounded(bytes)};
  }

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* block) const noexcept { std::free(block); }
  };
  std::unique_ptr<std::byte, Free> block_;
  std::size_t bytes_ = 0;
  std::size_t taken_ = 0;
};

}  // namespace navit_edge
