#include "support/counting_allocator.h"

#include <execinfo.h>
#include <malloc.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define COUNTS_MALLOC 0
#else
#define COUNTS_MALLOC 1
#endif

namespace {

std::atomic<std::int64_t> count{0};
std::atomic<std::int64_t> live{0};
std::atomic<int> to_trace{0};

void note() noexcept {
  count.fetch_add(1, std::memory_order_relaxed);
  if (to_trace.load(std::memory_order_relaxed) <= 0 || to_trace.fetch_sub(1) <= 0) return;
  std::array<void*, 24> frames{};
  const int depth = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  ::backtrace_symbols_fd(frames.data(), depth, STDERR_FILENO);
  static_cast<void>(!::write(STDERR_FILENO, "\n", 1));
}

}  // namespace

namespace counting {

std::int64_t allocations() noexcept { return count.load(); }
std::int64_t live_bytes() noexcept { return live.load(); }
bool counts_bytes() noexcept { return COUNTS_MALLOC != 0; }

Tracing::Tracing(int times) noexcept {
  std::array<void*, 2> frames{};
  static_cast<void>(::backtrace(frames.data(), 2));  // the first call allocates
  to_trace = times;
}
Tracing::~Tracing() { to_trace = 0; }

}  // namespace counting

#if COUNTS_MALLOC

extern "C" {

void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

static void* noted(void* block) noexcept {
  if (block != nullptr)
    live.fetch_add(static_cast<std::int64_t>(::malloc_usable_size(block)), std::memory_order_relaxed);
  note();
  return block;
}

// The libraries call these, too, in place of glibc's: under -fvisibility=hidden clang would hide some from them.
#pragma GCC visibility push(default)
void* malloc(std::size_t bytes) { return noted(__libc_malloc(bytes)); }
void* calloc(std::size_t each, std::size_t bytes) { return noted(__libc_calloc(each, bytes)); }
void* memalign(std::size_t alignment, std::size_t bytes) { return noted(__libc_memalign(alignment, bytes)); }
void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return noted(__libc_memalign(alignment, bytes)); }
int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) {
  *out = noted(__libc_memalign(alignment, bytes));
  return *out == nullptr ? ENOMEM : 0;
}
void* realloc(void* block, std::size_t bytes) {
  if (block != nullptr)
    live.fetch_sub(static_cast<std::int64_t>(::malloc_usable_size(block)), std::memory_order_relaxed);
  return noted(__libc_realloc(block, bytes));
}
void free(void* block) {
  if (block != nullptr)
    live.fetch_sub(static_cast<std::int64_t>(::malloc_usable_size(block)), std::memory_order_relaxed);
  __libc_free(block);
}
#pragma GCC visibility pop

}  // extern "C"

#else

// std::stable_partition takes memory by this one; a sanitizer's own does not call the next.
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  note();
  return std::malloc(bytes == 0 ? 1 : bytes);
}
void* operator new(std::size_t bytes) {
  void* const block = operator new(bytes, std::nothrow);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t) noexcept { std::free(block); }

#endif
