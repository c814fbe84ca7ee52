// Structs of the C interface that begin with struct_size: the caller's may be shorter or longer than ours.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "navit_edge/error.h"

namespace navit_edge::c_api {

inline constexpr std::uint32_t kMostStructBytes = 1U << 16;

/// The first field of `given`, checked. Throws InvalidInput.
inline std::uint32_t struct_size(const void* given, const char* type) {
  std::uint32_t size = 0;
  std::memcpy(&size, given, sizeof(size));
  if (size < sizeof(size) || size > kMostStructBytes) {
    throw InvalidInput("struct_size of a " + std::string(type) + " is " + std::to_string(size) + "; set it to sizeof(" +
                       type + ") and the other fields to zero or a value");
  }
  return size;
}

/// A copy of the caller's struct. What it lacks is zero; what it has more than ours must be, for we could not heed it.
template <class T>
T read_sized(const void* given, const char* type) {
  T ours{};
  const std::size_t size = struct_size(given, type);
  std::memcpy(&ours, given, std::min(size, sizeof(T)));
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(T); i < size; ++i) {
    if (bytes[i] != 0) {
      throw InvalidInput("a " + std::string(type) + " sets a field that this library does not know (byte " +
                         std::to_string(i) + " of " + std::to_string(size) +
                         "); it is older than the header; update it");
    }
  }
  return ours;
}

/// Fills the caller's struct from ours; what it has more becomes zero.
template <class T>
void write_sized(const T& ours, void* given, const char* type) {
  const std::uint32_t size = struct_size(given, type);
  std::memset(given, 0, size);
  std::memcpy(given, &ours, std::min<std::size_t>(size, sizeof(T)));
  std::memcpy(given, &size, sizeof(size));
}

}  // namespace navit_edge::c_api
