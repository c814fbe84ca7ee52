// Opening and reading files: regular ones, of a bounded size, without following a link and without waiting.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace navit_edge {

/// Descriptor of a regular file, closed with the object.
class RegularFile {
 public:
  /// Throws BundleError, with `remedy` at the end, where `path` is missing, is a link or no regular file, or has more
  /// than `most_bytes`. Pipes and devices are refused before they are opened: opening one can wait, or do things.
  RegularFile(const std::filesystem::path& path, std::uint64_t most_bytes, const std::string& remedy);
  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&&) = delete;
  ~RegularFile();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }  // when it was opened

  /// All of it. Throws BundleError where it cannot be read, or has grown beyond the limit.
  [[nodiscard]] std::string read() const;

 private:
  void check(std::uint32_t mode, std::uint64_t bytes) const;
  [[noreturn]] void fail(const std::string& what) const;

  std::string path_;
  std::uint64_t most_bytes_;
  std::string remedy_;
  int descriptor_ = -1;
  std::uint64_t bytes_ = 0;
};

}  // namespace navit_edge
