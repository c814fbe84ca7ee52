// Files of a bundle: opened without following links, and read once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "navit_edge/file_bytes.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// The content of `name` (plain and relative, docs/bundle.md) inside of `bundle`, if its size and SHA-256 are those
/// of `expected`. `bundle` may be a link; nothing inside of it may, and the file must be a regular one. One descriptor
/// serves for all of it, and what is hashed is the memory that is returned: so a file that is swapped or cut off, then
/// or later, is refused or changes nothing. Throws BundleError, which ends with `remedy`.
FileBytes read_verified(const std::filesystem::path& bundle, const std::string& name, const FileSpec& expected,
                        const std::string& remedy);

}  // namespace navit_edge
