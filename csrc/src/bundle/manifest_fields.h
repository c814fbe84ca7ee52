// What the readers of a manifest's parts share: limits, and fields that several parts have.
#pragma once

#include <set>
#include <string>

#include "bundle/json_reader.h"
#include "bundle/manifest_limits.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// An id: stands in messages, in file names and on command lines.
std::string read_id(const JsonReader& json);

/// A string that is not empty.
std::string read_name(const JsonReader& json);

/// A file's name that `manifest.files` has, with its hash.
std::string read_listed_file(const JsonReader& json, const Manifest& manifest);

/// 64 hexadecimal digits.
std::string read_sha256(const JsonReader& json);

/// Fails if two of the entries of `list` have the same id.
void check_unique_ids(const JsonReader& list, std::size_t most);

}  // namespace navit_edge
