// How much memory there is, for refusing what cannot fit before it is taken.
#pragma once

#include <cstddef>
#include <filesystem>

namespace navit_edge {

/// Bytes that this process could have at most: memory and swap, or the limit of a control group above it if that is
/// lower. `root` stands for / in tests.
std::size_t machine_memory_bytes(const std::filesystem::path& root = "/");

}  // namespace navit_edge
