// Image files of tests/data, and how they are damaged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/check.h"

using Bytes = std::vector<std::uint8_t>;

/// One after the other. (g++ 12 warns of a long literal as a string with `+` behind it.)
inline std::string joined(std::initializer_list<std::string_view> parts) {
  std::string all;
  for (const std::string_view part : parts) all += part;
  return all;
}

/// "jpeg/baseline.jpg"
inline Bytes read_image_file(const std::string& name) {
  std::ifstream file(joined({NAVIT_EDGE_IMAGE_FILES, "/", name}), std::ios::binary);
  Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  REQUIRE(!bytes.empty());
  return bytes;
}

inline std::vector<Bytes> read_image_files(std::initializer_list<const char*> names) {
  std::vector<Bytes> files;
  for (const char* name : names) files.push_back(read_image_file(name));
  return files;
}

/// Memory of exactly so many bytes of the file, so that the address sanitizer sees what is read behind it.
class ExactBytes {
 public:
  ExactBytes(const Bytes& file, std::size_t size) : memory_(std::make_unique<std::uint8_t[]>(size)), size_(size) {
    if (size > 0) std::memcpy(memory_.get(), file.data(), size);
  }
  explicit ExactBytes(const Bytes& file) : ExactBytes(file, file.size()) {}
  [[nodiscard]] std::span<const std::uint8_t> span() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<std::uint8_t[]> memory_;
  std::size_t size_;
};

/// Mutations to try: NAVIT_EDGE_FUZZ_COUNT (`make fuzz`), or some thousands.
inline long fuzz_count() {
  const char* given = std::getenv("NAVIT_EDGE_FUZZ_COUNT");
  return given != nullptr ? std::atol(given) : 2000;
}

/// 0 to `most`.
inline std::size_t drawn(std::mt19937& random, std::size_t most) { return random() % (most + 1); }

/// `file` with bytes changed, cut out and put in; half of them among its first `head`.
inline Bytes mutated(Bytes file, std::size_t head, std::mt19937& random) {
  for (std::size_t changes = 1 + drawn(random, 4); changes > 0 && file.size() > head; --changes) {
    const std::size_t place = drawn(random, drawn(random, 1) == 0 ? head - 1 : file.size() - 1);
    const auto at = file.begin() + static_cast<std::ptrdiff_t>(place);
    switch (drawn(random, 3)) {
      case 0: {
        const std::size_t most = std::min<std::size_t>(20, file.size() - place - 1);
        file.erase(at, at + static_cast<std::ptrdiff_t>(drawn(random, most)));
        break;
      }
      case 1:
        file.insert(at, 1 + drawn(random, 20), static_cast<std::uint8_t>(random()));
        break;
      default:
        *at = static_cast<std::uint8_t>(random());
    }
  }
  return file;
}
