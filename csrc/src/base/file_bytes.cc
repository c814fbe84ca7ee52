#include "navit_edge/file_bytes.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace navit_edge {

FileBytes::FileBytes(std::size_t size) : size_(size) {
  if (size == 0) return;
  // Not the file's own pages, not even private ones: those that were not touched yet show what the file holds by then,
  // and end the process with SIGBUS if it was cut off.
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  static_cast<void>(::madvise(memory, size, MADV_HUGEPAGE));  // a quarter of the time for first touches; a hint
#endif
  data_ = static_cast<std::byte*>(memory);
}

FileBytes::~FileBytes() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

FileBytes::FileBytes(FileBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

FileBytes& FileBytes::operator=(FileBytes&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace navit_edge
