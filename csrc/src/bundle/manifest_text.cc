#include "navit_edge/manifest_text.h"

#include <algorithm>
#include <limits>

#include "bundle/json_reader.h"
#include "bundle/manifest_fields.h"
#include "bundle/read_engine.h"
#include "bundle/read_graph.h"
#include "bundle/read_model.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr std::int64_t kLeastInteger = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();
constexpr const char* kRemedy = "copy the bundle again or export the model again";
constexpr const ManifestLimits& kLimits = kManifestLimits;

FileSpec read_file(const JsonReader& json) {
  json.only({"sha256", "bytes"});
  return {read_sha256(json.at("sha256")), static_cast<std::uint64_t>(json.at("bytes").integer(0, kMostInteger))};
}

void read_files(const JsonReader& json, Manifest& manifest) {
  for (const auto& [name, value] : json.object(kLimits.files)) {
    if (!stays_inside(name)) {
      value.fail("a file inside of the bundle, without '..', '.', '//', '\\' or a drive, not manifest.json");
    }
    manifest.files.emplace(name, read_file(value));
  }
}

void check_tolerances(const JsonReader& json) {
  constexpr auto& known = Vocabulary<Precision>::words;
  for (const auto& [precision, value] : json.object(known.size())) {
    value.only({"min_cosine", "max_relative", "min_top1"});
    if (!find_word<Precision>(precision)) {
      value.fail("tolerances of one of the precisions " + list_of(known));
    }
    (void)value.at("min_cosine").number(-1, 1);
    (void)value.at("max_relative").positive_number();
    if (value.has("min_top1")) (void)value.at("min_top1").number(0, 1);
  }
}

void check_golden(const JsonReader& json) {
  for (const JsonReader& item : json.array(kLimits.golden)) {
    item.only({"height_px", "width_px", "grid", "sha256"});
    (void)item.at("height_px").int32(1);
    (void)item.at("width_px").int32(1);
    const auto grid = item.at("grid").array(2);
    if (grid.size() != 2) item.at("grid").fail("rows and columns");
    for (const JsonReader& side : grid) (void)side.int32(1);
    (void)read_sha256(item.at("sha256"));
  }
}

/// First of all, so that a bundle of another version is called that, whatever else of it is unknown. Returns the source
/// to read the rest by: fields that a later minor version has added are skipped.
JsonSource check_version(const nlohmann::json& document, const std::string& file) {
  const JsonReader json(document, {file, kRemedy});
  const std::int64_t version = json.at("schema_version").integer(kLeastInteger, kMostInteger);
  if (version != kSchemaVersion) {
    const char* remedy = version > kSchemaVersion ? "upgrade navit-edge (pip install --upgrade navit-edge)"
                                                  : "export the model again with this version";
    JsonReader(document, {file, remedy})
        .at("schema_version")
        .fail(std::to_string(kSchemaVersion) + ", the schema that this version of navit-edge reads");
  }
  const bool later = json.has("schema_minor") && json.at("schema_minor").integer(0, kMostInteger) > kSchemaMinor;
  return {file, kRemedy, later};
}

}  // namespace

bool stays_inside(std::string_view name) {
  if (name == "manifest.json" || name.size() > kMostStringBytes || has_control_characters(name)) return false;
  if (name.find('\\') != std::string_view::npos || name.substr(0, name.find('/')).find(':') != std::string_view::npos) {
    return false;
  }
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

Manifest parse_manifest(std::string_view text, const std::string& file) {
  if (text.size() > kMostManifestBytes) {
    throw BundleError(file + " has " + std::to_string(text.size()) + " bytes; expected at most " +
                      std::to_string(kMostManifestBytes) + "; " + kRemedy);
  }
  const nlohmann::json document = parse_json(text, {file, kRemedy});
  const JsonReader json(document, check_version(document, file));
  json.only({"schema_version", "schema_minor", "name", "created_by", "model", "preprocess", "graphs", "engines",
             "labels", "tolerances", "golden", "files"});
  Manifest manifest;
  manifest.name = json.at("name").string();
  (void)json.at("created_by").string_map();
  manifest.model = read_model(json.at("model"));
  manifest.preprocess = read_preprocess(json.at("preprocess"));
  if (json.has("files")) read_files(json.at("files"), manifest);
  if (json.has("labels")) {
    for (const JsonReader& item : json.at("labels").array(kLimits.labels)) manifest.labels.push_back(item.string());
  }
  for (const JsonReader& item : json.at("graphs").array(kLimits.graphs)) {
    manifest.graphs.push_back(read_graph(item, manifest));
  }
  check_unique_ids(json.at("graphs"), kLimits.graphs);
  if (json.has("engines")) {
    for (const JsonReader& item : json.at("engines").array(kLimits.engines)) {
      manifest.engines.push_back(read_engine(item, manifest));
    }
    check_unique_ids(json.at("engines"), kLimits.engines);
    check_group_ids(json.at("engines"), manifest);
  }
  if (json.has("tolerances")) check_tolerances(json.at("tolerances"));
  if (json.has("golden")) check_golden(json.at("golden"));
  return manifest;
}

}  // namespace navit_edge
