// The content of a file, in memory of its own.
#pragma once

#include <cstddef>
#include <span>

#include "navit_edge/cxx20.h"

namespace navit_edge {

/// Owns bytes that were read from a file, aligned to pages, in private memory: whatever becomes of the file later, they
/// stay what they were when they were checked. Moves, never copies.
class NAVIT_EDGE_API FileBytes {
 public:
  FileBytes() = default;
  /// `size` bytes of zeros. Throws std::bad_alloc.
  explicit FileBytes(std::size_t size);
  ~FileBytes();
  FileBytes(FileBytes&& other) noexcept;
  FileBytes& operator=(FileBytes&& other) noexcept;
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const& noexcept { return {data_, size_}; }
  [[nodiscard]] std::span<std::byte> bytes() & noexcept { return {data_, size_}; }
  std::span<const std::byte> bytes() const&& = delete;  // would dangle

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace navit_edge
