// When a session is broken.
#pragma once

#include <exception>
#include <new>
#include <string>

namespace navit_edge {

/// Three packs in a row that fail break it, or one that stalls. Not thread-safe.
class CircuitBreaker {
 public:
  void succeeded() noexcept { in_a_row_ = 0; }

  /// True if this failure is the one that breaks it. The first of the row is the cause.
  bool failed(const std::exception_ptr& cause) noexcept {
    if (broken()) return false;
    try {
      if (++in_a_row_ == 1) remember(cause);
      if (in_a_row_ < kMost) return false;
      why_ = "three packs in a row failed, the first with: " + cause_;
    } catch (const std::bad_alloc&) {  // short enough to need no memory
      if (in_a_row_ < kMost) return false;
      why_ = "out of memory";
    }
    return true;
  }

  void stalled(const std::string& what) {
    if (!broken()) why_ = what;
  }

  [[nodiscard]] bool broken() const noexcept { return !why_.empty(); }
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

 private:
  void remember(const std::exception_ptr& cause) try {
    std::rethrow_exception(cause);
  } catch (const std::exception& e) {
    cause_ = e.what();
  }

  static constexpr int kMost = 3;
  int in_a_row_ = 0;
  std::string cause_;
  std::string why_;
};

}  // namespace navit_edge
