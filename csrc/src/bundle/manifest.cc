#include "navit_edge/manifest.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <span>
#include <system_error>

#include "bundle/bundle_file.h"
#include "bundle/manifest_limits.h"
#include "bundle/regular_file.h"
#include "bundle/sha256.h"
#include "navit_edge/error.h"
#include "navit_edge/manifest_text.h"

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifestName = "manifest.json";

template <class Spec>
std::string ids_of(const std::vector<Spec>& specs) {
  std::string list;
  for (const Spec& spec : specs) list += (list.empty() ? "" : ", ") + spec.id;
  return list.empty() ? "none" : list;
}

template <class Spec>
const Spec& find_id(const std::vector<Spec>& specs, const std::string& id, const char* kind, const Manifest& manifest,
                    const char* remedy) {
  const auto found = std::find_if(specs.begin(), specs.end(), [&](const Spec& spec) { return spec.id == id; });
  if (found != specs.end()) return *found;
  throw BundleError("the bundle " + manifest.bundle.string() + " has no " + kind + " '" + id +
                    "'; it has: " + ids_of(specs) + "; " + remedy);
}

}  // namespace

std::int32_t ModelSpec::merge_of(GraphOutput output) const noexcept {
  switch (output) {
    case GraphOutput::kTokens:
      return token_merge;
    case GraphOutput::kProjected:
      return projected_merge;
    case GraphOutput::kDeepstack:
      return deepstack_merge;
    default:
      return 1;
  }
}

std::int32_t ModelSpec::block_side() const noexcept {
  return std::lcm(std::lcm(token_merge, projected_merge), deepstack_merge);
}

Manifest Manifest::load(const fs::path& bundle) {
  const fs::path path = bundle / kManifestName;
  std::error_code error;
  if (!fs::is_directory(bundle, error)) {
    throw BundleError("no bundle at " + bundle.string() + (fs::exists(bundle, error) ? ": it is not a directory" : "") +
                      "; expected a directory made by `navit-edge export`");
  }
  if (!fs::exists(fs::symlink_status(path, error))) {
    throw BundleError(path.string() + " is missing; expected a bundle made by `navit-edge export`");
  }
  const std::string text = read_regular_file(path, kMostManifestBytes, kBundleRemedy);
  Manifest manifest = parse_manifest(text, path.string());
  manifest.bundle = bundle;
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  manifest.sha256 = hash.finish();
  return manifest;
}

FileBytes Manifest::verified_bytes(const std::string& file) const {
  if (!stays_inside(file)) {
    throw BundleError("'" + file + "' leaves the bundle " + bundle.string() +
                      "; expected a relative path inside of it; " + kBundleRemedy);
  }
  const auto listed = files.find(file);
  if (listed == files.end()) {
    throw BundleError("'" + file + "' is not listed in " + (bundle / kManifestName).string() +
                      ", so its contents cannot be checked; " + kBundleRemedy);
  }
  return read_verified(
      bundle, file, listed->second,
      file.starts_with("engines/") ? "build the engine again with `navit-edge build-engine`" : kBundleRemedy);
}

const EngineSpec& Manifest::engine(const std::string& id) const& {
  std::set<std::string> groups;
  for (const EngineSpec& engine : engines) {
    if (!engine.group.id.empty()) groups.insert(engine.group.id);
  }
  std::string remedy = "name one of these, or build it with `navit-edge build-engine`";
  for (const std::string& group : groups) remedy = "the group " + group + "; " + remedy;
  return find_id(engines, id, "engine", *this, remedy.c_str());
}

const GraphSpec& Manifest::graph(const std::string& id) const& {
  return find_id(graphs, id, "graph", *this, kBundleRemedy);
}

}  // namespace navit_edge
