// Reading files: regular ones, of a bounded size, without following a link and without waiting.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace navit_edge {

/// All of a regular file. Throws BundleError, with `remedy` at the end, if `path` is missing, is a link or no regular
/// file, cannot be read, or has more than `most_bytes`. Pipes and devices are refused before they are opened: opening
/// one can wait, or do things.
std::string read_regular_file(const std::filesystem::path& path, std::uint64_t most_bytes, const std::string& remedy);

}  // namespace navit_edge
