#include "navit_edge/manifest_text.h"

#include <algorithm>
#include <limits>

#include "bundle/json_reader.h"
#include "bundle/manifest_limits.h"
#include "bundle/read_engines.h"
#include "bundle/rule_fields.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

std::string read_sha256(const JsonReader& json) {
  std::string hash = json.string();
  const bool hex = hash.size() == 64 && std::all_of(hash.begin(), hash.end(), [](char c) {
                     return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                   });
  if (!hex) json.fail("64 lower-case hexadecimal digits");
  return hash;
}

FileSpec read_file(const JsonReader& json) {
  json.only({"sha256", "bytes"});
  return {read_sha256(json.at("sha256")), static_cast<std::uint64_t>(json.at("bytes").integer(0, kMostInteger))};
}

void read_files(const JsonReader& json, Manifest& manifest) {
  for (const auto& [name, value] : json.object(kManifestLimits.files)) {
    if (!stays_inside(name)) {
      value.fail("a file inside of the bundle, without '..', '.', '//', '\\' or a drive, not manifest.json");
    }
    manifest.files.emplace(name, read_file(value));
  }
}

/// By the names that model configs have for it. The config is the family's own: what makes no sense is passed over.
std::int32_t mlp_width(const JsonReader& model, std::int32_t width) {
  if (model.has("config")) {
    const JsonReader config = model.at("config");
    for (const char* name : {"mlp_width", "intermediate_size"}) {
      if (!config.has(name) || !config.at(name).is_integer()) continue;
      const std::int64_t found = config.at(name).integer(kLeastInteger, kMostInteger);
      if (found >= 1 && found <= 64 * std::int64_t{kManifestLimits.width}) return static_cast<std::int32_t>(found);
    }
  }
  return 4 * width;
}

/// A field of schema 3: readers of earlier ones do not know what the graphs take.
MergingSpec read_merging(const JsonReader& json, const JsonReader& manifest_json, const ModelSpec& model) {
  json.only({"layer", "kept", "of", "group", "method"});
  if (manifest_json.at("schema_version").integer(kLeastInteger, kMostInteger) < 3) {
    json.fail("a schema_version of 3 beside it: readers of earlier ones cannot run such graphs");
  }
  if (model.token_merge > 1) json.fail("a token_merge of 1 beside it");
  MergingSpec merging;
  merging.layer = json.at("layer").int32(0, model.depth - 1);
  merging.of = json.at("of").int32(1, kManifestLimits.merge_fraction);
  merging.kept = json.at("kept").int32(1, merging.of);
  merging.group = json.at("group").int32(2, kManifestLimits.merge_group);
  if (merging.group % merging.stride() != 0) {
    json.at("group").fail("a multiple of of / kept, rounded up: " + std::to_string(merging.stride()));
  }
  (void)json.at("method").word<MergeMethod>();
  return merging;
}

ModelSpec read_model(const JsonReader& json, const JsonReader& manifest_json) {
  json.only({"family", "width", "depth", "heads", "prefix_tokens", "parameters", "token_merge", "config", "merging"});
  ModelSpec model;
  model.family = json.at("family").name();
  model.width = json.at("width").int32(1, kManifestLimits.width);
  model.depth = json.at("depth").int32(1, kManifestLimits.layers);
  (void)json.at("heads").int32(1, kManifestLimits.layers);
  (void)json.at("parameters").integer(0, kMostInteger);
  model.prefix_tokens = json.at("prefix_tokens").int32(0, 1024);
  if (json.has("token_merge")) model.token_merge = json.at("token_merge").int32(1, 4);
  if (json.has("config") && !json.at("config").is_object()) json.at("config").fail("an object");
  model.mlp_width = mlp_width(json, model.width);
  if (json.has("merging")) model.merging = read_merging(json.at("merging"), manifest_json, model);
  return model;
}

/// A field of schema 2: a reader of an earlier version would give the model other pixels.
Decode read_decode(const JsonReader& json, const JsonReader& manifest_json) {
  const auto decode = json.word<Decode>();
  if (manifest_json.at("schema_version").integer(kLeastInteger, kMostInteger) < 2) {
    json.fail("a schema_version of 2 beside it: schema 1 has no such field");
  }
  return decode;
}

/// A field of schema 1.1. What changes pixels makes the bundle one of schema 2: a reader of an earlier version must not
/// pass over it.
Processor read_processor(const JsonReader& json, const JsonReader& manifest_json, Filter filter) {
  const auto processor = json.word<Processor>();
  const bool second = manifest_json.at("schema_version").integer(kLeastInteger, kMostInteger) >= 2;
  if (processor == Processor::kTorchvision && !second) {
    json.fail("a schema_version of 2 beside it: readers of version 1 resize as Pillow does");
  }
  if (!second &&
      (!manifest_json.has("schema_minor") || manifest_json.at("schema_minor").integer(0, kMostInteger) < 1)) {
    json.fail("a schema_minor of 1 and up beside it: schema 1.0 has no such field");
  }
  if (!has_filter(processor, filter)) json.fail("the filter bilinear or bicubic beside it");
  return processor;
}

PreprocessSpec read_preprocess(const JsonReader& manifest_json) {
  const JsonReader json = manifest_json.at("preprocess");
  json.only({"sizing", "filter", "processor", "patch_px", "channels", "mean", "std", "alpha", "background",
             "orientation", "icc", "decode"});
  PreprocessSpec preprocess;
  preprocess.filter = json.at("filter").word<Filter>();
  if (json.has("processor")) {
    preprocess.processor = read_processor(json.at("processor"), manifest_json, preprocess.filter);
  }
  preprocess.patch_px = json.at("patch_px").int32(1, 1024);
  preprocess.channels = json.at("channels").int32(kChannels, kChannels);
  for (const char* name : {"mean", "std"}) {
    const auto values = json.at(name).array(static_cast<std::size_t>(kChannels));
    if (values.size() != static_cast<std::size_t>(kChannels)) json.at(name).fail("one number a channel");
    for (const JsonReader& value : values) (void)value.number();
  }
  preprocess.sizing.rule = read_sizing_rule(json.at("sizing"), preprocess.patch_px);
  if (json.has("alpha")) preprocess.alpha = json.at("alpha").word<Alpha>();
  if (json.has("orientation")) preprocess.orientation = json.at("orientation").word<Orientation>();
  if (json.has("icc")) preprocess.icc = json.at("icc").word<Icc>();
  if (json.has("decode")) preprocess.decode = read_decode(json.at("decode"), manifest_json);
  if (json.has("background")) preprocess.background = json.at("background").colour();
  return preprocess;
}

void check_tolerances(const JsonReader& json) {
  constexpr auto& known = kWords<Precision>.words;
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
  for (const JsonReader& item : json.array(kManifestLimits.golden)) {
    item.only({"height_px", "width_px", "grid", "sha256"});
    (void)item.at("height_px").int32(1);
    (void)item.at("width_px").int32(1);
    const auto grid = item.at("grid").array(2);
    if (grid.size() != 2) item.at("grid").fail("rows and columns");
    for (const JsonReader& side : grid) (void)side.int32(1);
    (void)read_sha256(item.at("sha256"));
  }
}

/// A field that schema 1.1 has brought.
JsonReader at_since_minor_1(const JsonReader& manifest_json, const char* field) {
  const JsonReader json = manifest_json.at(field);
  if (!manifest_json.has("schema_minor") || manifest_json.at("schema_minor").integer(0, kMostInteger) < 1) {
    json.fail("a schema_minor of 1 and up beside it: schema 1.0 has no such field");
  }
  return json;
}

TextSpec read_text(const JsonReader& json, const Manifest& manifest) {
  json.only({"file", "opset", "inputs", "outputs", "tokenizer", "logit_scale", "logit_bias", "engines"});
  TextSpec text;
  text.file = read_listed_file(json.at("file"), manifest);
  text.tokenizer = read_listed_file(json.at("tokenizer"), manifest);
  (void)json.at("opset").int32(1);
  text.inputs = read_tensors(json.at("inputs"));
  text.outputs = read_tensors(json.at("outputs"));
  text.logit_scale = json.at("logit_scale").positive_number();
  text.logit_bias = json.at("logit_bias").number();
  if (json.has("engines")) text.engines = read_text_engines(json.at("engines"), manifest);
  return text;
}

/// First of all, so that a bundle of another version is called that, whatever else of it is unknown. Returns the source
/// to read the rest by: fields that a later minor version has added are skipped.
JsonSource check_version(const JsonReader& json, const std::string& file) {
  const std::int64_t version = json.at("schema_version").integer(kLeastInteger, kMostInteger);
  if (version < kLeastSchemaVersion || version > kSchemaVersion) {
    const char* remedy = version > kSchemaVersion ? "upgrade navit-edge" : "export the model again with this version";
    json.with_source({file, remedy})
        .at("schema_version")
        .fail(std::to_string(kLeastSchemaVersion) + " to " + std::to_string(kSchemaVersion) +
              ", the schemas that this version of navit-edge reads");
  }
  const bool later = json.has("schema_minor") && json.at("schema_minor").integer(0, kMostInteger) > kSchemaMinor;
  return {file, kBundleRemedy, later};
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
                      std::to_string(kMostManifestBytes) + "; " + kBundleRemedy);
  }
  const JsonReader document(text, {file, kBundleRemedy});
  const JsonReader json = document.with_source(check_version(document, file));
  json.only({"schema_version", "schema_minor", "name", "created_by", "model", "preprocess", "graphs", "engines",
             "labels", "tolerances", "golden", "files", "scores", "text"});
  Manifest manifest;
  manifest.name = json.at("name").string();
  (void)json.at("created_by").string_map();
  manifest.model = read_model(json.at("model"), json);
  manifest.preprocess = read_preprocess(json);
  if (json.has("files")) read_files(json.at("files"), manifest);
  if (json.has("labels")) {
    for (const JsonReader& item : json.at("labels").array(kManifestLimits.labels))
      manifest.labels.push_back(item.string());
  }
  read_graphs(json.at("graphs"), manifest);
  if (json.has("engines")) read_engines(json.at("engines"), manifest);
  if (json.has("tolerances")) check_tolerances(json.at("tolerances"));
  if (json.has("golden")) check_golden(json.at("golden"));
  if (json.has("scores")) manifest.scores = at_since_minor_1(json, "scores").word<Scores>();
  if (json.has("text")) manifest.text = read_text(at_since_minor_1(json, "text"), manifest);
  return manifest;
}

}  // namespace navit_edge
