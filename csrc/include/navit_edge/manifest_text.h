// What a reader of manifests, and of other JSON from outside, refuses (docs/bundle.md). Python's readers ask here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "navit_edge/manifest.h"

namespace navit_edge {

/// Most bytes of a manifest.json.
inline constexpr std::uint64_t kMostManifestBytes = std::uint64_t{16} << 20;

/// Reads and checks the text of a manifest, which messages call `source`; `bundle` stays empty. Throws BundleError.
NAVIT_EDGE_API Manifest parse_manifest(std::string_view text, const std::string& source);

/// True if `name` is a relative path that stays inside of a bundle, spelled the one plain way, and not the
/// manifest's own.
NAVIT_EDGE_API bool stays_inside(std::string_view name);

/// Throws BundleError, "<source> ...; <remedy>", if `text` is not one JSON document in UTF-8, has a field twice in
/// an object, or is deeper or larger than docs/bundle.md allows. Every reader of JSON from outside asks this first.
NAVIT_EDGE_API void check_json(std::string_view text, const std::string& source, const std::string& remedy);

}  // namespace navit_edge
