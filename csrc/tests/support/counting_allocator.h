// Counts what the whole program allocates, on all threads, the libraries' own malloc included: link
// counting_allocator.cc into the test. Under a sanitizer, whose malloc it is, only operator new is counted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace counting {

/// Allocations of the program so far.
std::int64_t allocations() noexcept;
/// Bytes that are allocated now, as large as the allocator made the blocks. 0 under a sanitizer.
std::int64_t live_bytes() noexcept;

/// Whether live_bytes() counts.
bool counts_bytes() noexcept;

/// Prints where the program allocates, to stderr, for as long as it lives: the first few times.
class Tracing {
 public:
  explicit Tracing(int times = 3) noexcept;
  ~Tracing();
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;
};

}  // namespace counting
