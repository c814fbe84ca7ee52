#include "navit_edge/manifest_text.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "bundle/json_reader.h"
#include "bundle/manifest_limits.h"
#include "bundle/rule_fields.h"
#include "navit_edge/error.h"
#include "navit_edge/plan.h"
#include "pixels/filters.h"

namespace navit_edge {
namespace {

constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();
constexpr const char* kRemedy = "copy the bundle again or export the model again";
constexpr const ManifestLimits& kLimits = kManifestLimits;

template <class Names>
std::string list_of(const Names& names) {
  std::string list;
  for (const auto& name : names) list += (list.empty() ? "" : ", ") + std::string(name);
  return list.empty() ? "none" : list;
}

template <class Names>
std::string one_of(const JsonReader& json, const Names& names) {
  std::string value = json.string();
  if (std::find(names.begin(), names.end(), value) == names.end()) json.fail("one of " + list_of(names));
  return value;
}

std::string one_of(const JsonReader& json, std::initializer_list<const char*> names) {
  return one_of<std::initializer_list<const char*>>(json, names);
}

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/// Ids stand in messages, in file names and on command lines.
std::string identifier(const JsonReader& json) {
  std::string id = json.string();
  const bool plain = !id.empty() && is_letter_or_digit(id.front()) && std::all_of(id.begin(), id.end(), [](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '_' || c == '+' || c == '-';
  });
  if (!plain) json.fail("letters, digits and . _ + -, the first a letter or digit");
  return id;
}

std::string filled_string(const JsonReader& json) {
  std::string text = json.string();
  if (text.empty()) json.fail("a name");
  return text;
}

std::string file_name(const JsonReader& json) {
  std::string name = json.string();
  if (!stays_inside(name)) {
    json.fail("a relative path inside of the bundle, without '..', '.', '//', '\\' or a drive, not manifest.json");
  }
  return name;
}

/// A file's name that `files` has, with its hash.
std::string listed_file(const JsonReader& json, const Manifest& manifest) {
  std::string name = file_name(json);
  if (!manifest.files.contains(name)) json.fail("a file that `files` lists with its sha256");
  return name;
}

std::string sha256(const JsonReader& json) {
  std::string hash = json.string();
  const bool hex = hash.size() == 64 && std::all_of(hash.begin(), hash.end(), [](char c) {
                     return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                   });
  if (!hex) json.fail("64 lower-case hexadecimal digits");
  return hash;
}

FileSpec parse_file(const JsonReader& json) {
  json.only({"sha256", "bytes"});
  return {sha256(json.at("sha256")), static_cast<std::uint64_t>(json.at("bytes").integer(0, kMostInteger))};
}

void parse_files(const JsonReader& json, Manifest& manifest) {
  for (const auto& [name, value] : json.object(kLimits.files)) {
    if (!stays_inside(name)) {
      value.fail("a file inside of the bundle, without '..', '.', '//', '\\' or a drive, not manifest.json");
    }
    manifest.files.emplace(name, parse_file(value));
  }
}

/// By the names that model configs have for it. The config is the family's own: what makes no sense is passed over.
std::int32_t mlp_width(const JsonReader& model, std::int32_t width) {
  if (model.has("config")) {
    const JsonReader config = model.at("config");
    for (const char* name : {"mlp_width", "intermediate_size"}) {
      if (!config.has(name) || !config.at(name).is_integer()) continue;
      const std::int64_t found = config.at(name).integer(std::numeric_limits<std::int64_t>::min(), kMostInteger);
      if (found >= 1 && found <= 64 * std::int64_t{kLimits.width}) return static_cast<std::int32_t>(found);
    }
  }
  return 4 * width;
}

ModelSpec parse_model(const JsonReader& json) {
  json.only({"family", "width", "depth", "heads", "prefix_tokens", "parameters", "token_merge", "config"});
  ModelSpec model;
  model.family = filled_string(json.at("family"));
  model.width = json.at("width").int32(1, kLimits.width);
  model.depth = json.at("depth").int32(1, kLimits.layers);
  (void)json.at("heads").int32(1, kLimits.layers);
  (void)json.at("parameters").integer(0, kMostInteger);
  model.prefix_tokens = json.at("prefix_tokens").int32(0, 1024);
  if (json.has("token_merge")) model.token_merge = json.at("token_merge").int32(1, 2);
  if (json.has("config") && !json.at("config").is_object()) json.at("config").fail("an object");
  model.mlp_width = mlp_width(json, model.width);
  return model;
}

PreprocessSpec parse_preprocess(const JsonReader& json) {
  json.only({"sizing", "filter", "patch_px", "channels", "mean", "std", "alpha", "background", "orientation", "icc"});
  PreprocessSpec preprocess;
  preprocess.filter = one_of(json.at("filter"), resize_filter_names());
  preprocess.patch_px = json.at("patch_px").int32(1, 1024);
  preprocess.channels = json.at("channels").int32(kChannels, kChannels);
  for (const char* name : {"mean", "std"}) {
    const auto values = json.at(name).array(static_cast<std::size_t>(kChannels));
    if (values.size() != static_cast<std::size_t>(kChannels)) json.at(name).fail("one number a channel");
    for (const JsonReader& value : values) (void)value.number();
  }
  preprocess.sizing = read_sizing(json.at("sizing"), preprocess.patch_px);
  if (json.has("alpha")) preprocess.alpha = one_of(json.at("alpha"), {"drop", "composite", "reject"});
  if (json.has("orientation")) preprocess.orientation = one_of(json.at("orientation"), {"apply", "as-decoded"});
  if (json.has("icc")) preprocess.icc = one_of(json.at("icc"), {"ignore", "srgb"});
  if (json.has("background")) {
    const auto colour = json.at("background").array(preprocess.background.size());
    if (colour.size() != preprocess.background.size()) json.at("background").fail("three values of 0..255: R, G, B");
    for (std::size_t c = 0; c < colour.size(); ++c) {
      preprocess.background[c] = static_cast<std::uint8_t>(colour[c].integer(0, 255));
    }
  }
  return preprocess;
}

DType parse_dtype(const JsonReader& json) {
  const std::string name = json.string();
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kUInt8, DType::kInt32}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  json.fail("one of float32, float16, bfloat16, uint8, int32");
}

TensorSpec parse_tensor(const JsonReader& json) {
  json.only({"name", "dtype", "shape"});
  TensorSpec tensor;
  tensor.name = filled_string(json.at("name"));
  tensor.dtype = parse_dtype(json.at("dtype"));
  const JsonReader shape = json.at("shape");
  for (const JsonReader& item : shape.array(kLimits.dimensions)) {
    Dim dim;
    if (item.is_string()) {
      const std::string name = one_of(item, {"T", "T/4", "N", "L", "N+1"});
      dim = {name.front(), name == "N+1" ? 1 : 0, name == "T/4" ? 4 : 1};
    } else {
      dim.extent = item.int32(1);
    }
    tensor.shape.push_back(dim);
  }
  if (tensor.shape.empty()) shape.fail("one extent or more");
  return tensor;
}

std::vector<TensorSpec> parse_tensors(const JsonReader& json) {
  std::vector<TensorSpec> tensors;
  std::set<std::string> names;
  for (const JsonReader& item : json.array(kLimits.tensors)) {
    tensors.push_back(parse_tensor(item));
    if (!names.insert(tensors.back().name).second) item.fail("a name that no other tensor of the list has");
  }
  if (tensors.empty()) json.fail("at least one tensor");
  return tensors;
}

/// Rows of "tokens" follow the model's merging; logits have a label each, where there are labels.
void check_outputs(const JsonReader& json, const GraphSpec& graph, const Manifest& manifest) {
  const bool merged = manifest.model.token_merge == 2;
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    const TensorSpec& tensor = graph.outputs[i];
    const Dim& rows = tensor.shape.front();
    const auto shape = [&] { return json.array(kLimits.tensors)[i].at("shape"); };
    if (tensor.name == "tokens" && rows.symbol != '\0' && (rows.symbol != 'T' || rows.parts != (merged ? 4 : 1))) {
      shape().fail(std::string(merged ? "T/4" : "T") + " rows of tokens with token_merge " + (merged ? "2" : "1"));
    }
    const Dim& classes = tensor.shape.back();
    if (tensor.name == "logits" && !manifest.labels.empty() &&
        (classes.symbol != '\0' || classes.extent != static_cast<std::int64_t>(manifest.labels.size()))) {
      shape().fail("one class for each of the " + std::to_string(manifest.labels.size()) + " labels");
    }
  }
}

GraphSpec parse_graph(const JsonReader& json, const Manifest& manifest) {
  json.only({"id", "lowering", "quantization", "file", "opset", "inputs", "outputs"});
  GraphSpec graph;
  graph.id = identifier(json.at("id"));
  graph.lowering = one_of(json.at("lowering"), {"masked", "padded", "packed"});
  if (json.has("quantization")) graph.quantization = one_of(json.at("quantization"), {"none", "int8", "fp8"});
  graph.file = listed_file(json.at("file"), manifest);
  (void)json.at("opset").int32(1);
  graph.inputs = parse_tensors(json.at("inputs"));
  graph.outputs = parse_tensors(json.at("outputs"));
  check_outputs(json.at("outputs"), graph, manifest);
  return graph;
}

std::vector<Budget> parse_budgets(const JsonReader& json) {
  std::vector<Budget> budgets;
  for (const JsonReader& item : json.array(kLimits.budgets)) {
    item.only({"tokens", "images", "target_tokens", "activation_bytes", "longest"});
    Budget budget;
    budget.tokens = item.at("tokens").int32(1, kLimits.tokens);
    budget.images = item.at("images").int32(1, kLimits.images);
    budget.target_tokens = item.at("target_tokens").int32(1, budget.tokens);
    if (item.has_value("longest")) budget.longest = item.at("longest").int32(1, budget.tokens);
    if (item.has_value("activation_bytes")) (void)item.at("activation_bytes").integer(0, kMostInteger);
    if (!budgets.empty() && budget.tokens <= budgets.back().tokens) {
      item.at("tokens").fail("budgets that ascend in tokens: more than " + std::to_string(budgets.back().tokens));
    }
    budgets.push_back(budget);
  }
  if (budgets.empty()) json.fail("at least one budget");
  return budgets;
}

/// The coefficients that `bench --calibrate` measured, one set for each budget.
std::vector<BudgetCost> parse_cost(const JsonReader& json, std::size_t budgets) {
  json.only({"budgets", "packs", "r_squared", "mean_error", "threads", "device"});
  std::vector<BudgetCost> cost;
  for (const JsonReader& item : json.at("budgets").array(kLimits.budgets)) {
    item.only({"fixed_us", "us_per_token", "us_per_score"});
    cost.push_back({item.at("fixed_us").positive_number(), item.at("us_per_token").positive_number(),
                    item.at("us_per_score").positive_number()});
  }
  if (cost.size() != budgets) json.at("budgets").fail("as many entries as the engine has budgets");
  (void)json.at("packs").integer(0, kMostInteger);
  (void)json.at("r_squared").number();
  (void)json.at("mean_error").number();
  (void)json.at("threads").int32(0);
  (void)json.at("device").string();
  return cost;
}

/// Lower-case letters, digits, '-' and '_': the name becomes part of a library's file name.
std::string backend_name(const JsonReader& json) {
  std::string name = json.string();
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
  if (!plain) json.fail("a backend's name in lower-case letters, digits, '-' and '_'");
  return name;
}

EngineGroup parse_group(const JsonReader& json, const std::string& engine) {
  json.only({"id", "members"});
  EngineGroup group;
  group.id = identifier(json.at("id"));
  const JsonReader members = json.at("members");
  for (const JsonReader& item : members.array(kLimits.engines)) group.members.push_back(identifier(item));
  const std::set<std::string> different(group.members.begin(), group.members.end());
  if (different.size() < 2 || different.size() != group.members.size() || !different.contains(engine)) {
    members.fail("ids of two or more engines, each once and '" + engine + "' among them");
  }
  return group;
}

/// Options that name code to load are the caller's alone: a bundle may come from anywhere.
std::map<std::string, std::string> parse_options(const JsonReader& json) {
  std::map<std::string, std::string> options = json.string_map();
  for (const char* key : {"tensorrt_dir", "tensorrt_wheels", "lean_runtime", "engine_host_code"}) {
    if (options.contains(key)) json.at(key).fail("no such option in a bundle: give it to the session");
  }
  return options;
}

EngineSpec parse_engine(const JsonReader& json, const Manifest& manifest) {
  json.only({"id", "backend", "target", "precision", "float_precision", "graph", "strategy", "dynamic_tokens",
             "budgets", "file", "builder", "options", "report", "group", "cost"});
  EngineSpec engine;
  engine.id = identifier(json.at("id"));
  engine.backend = backend_name(json.at("backend"));
  engine.target = identifier(json.at("target"));
  engine.precision = one_of(json.at("precision"), {"fp32", "fp16", "bf16", "int8", "fp8"});
  if (json.has("float_precision")) {
    engine.float_precision = one_of(json.at("float_precision"), {"", "fp32", "fp16", "bf16"});
  }
  engine.graph = identifier(json.at("graph"));
  const auto same = [&](const GraphSpec& graph) { return graph.id == engine.graph; };
  if (std::none_of(manifest.graphs.begin(), manifest.graphs.end(), same)) {
    std::vector<std::string> ids;
    for (const GraphSpec& graph : manifest.graphs) ids.push_back(graph.id);
    json.at("graph").fail("one of the bundle's graphs: " + list_of(ids));
  }
  engine.strategy = one_of(json.at("strategy"), strategy_names());
  engine.dynamic_tokens = json.at("dynamic_tokens").boolean();
  engine.budgets = parse_budgets(json.at("budgets"));
  if (json.has_value("cost")) engine.cost = parse_cost(json.at("cost"), engine.budgets.size());
  engine.file = listed_file(json.at("file"), manifest);
  engine.builder = json.at("builder").string_map();
  if (json.has("options")) engine.options = parse_options(json.at("options"));
  if (json.has_value("report")) (void)listed_file(json.at("report"), manifest);
  if (json.has_value("group")) engine.group = parse_group(json.at("group"), engine.id);
  return engine;
}

/// Each entry's id once.
void check_unique_ids(const JsonReader& list, std::size_t most) {
  std::set<std::string> ids;
  for (const JsonReader& item : list.array(most)) {
    const JsonReader id = item.at("id");
    if (!ids.insert(id.string()).second) id.fail("an id that no other entry has; this one is there twice");
  }
}

void check_group_ids(const JsonReader& list, const Manifest& manifest) {
  std::set<std::string> ids;
  for (const EngineSpec& engine : manifest.engines) ids.insert(engine.id);
  const auto items = list.array(kLimits.engines);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (ids.contains(manifest.engines[i].group.id)) items[i].at("group").at("id").fail("an id that is no engine's");
  }
}

void check_tolerances(const JsonReader& json) {
  constexpr std::array known{"fp32", "fp16", "bf16", "int8", "fp8"};
  for (const auto& [precision, value] : json.object(known.size())) {
    value.only({"min_cosine", "max_relative", "min_top1"});
    if (std::find(known.begin(), known.end(), precision) == known.end()) {
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
    (void)sha256(item.at("sha256"));
  }
}

/// First of all, so that a bundle of another version is called that, whatever else of it is unknown.
void check_version(const nlohmann::json& document, const std::string& file) {
  const JsonReader found = JsonReader(document, {file, kRemedy}).at("schema_version");
  const std::int64_t version = found.integer(std::numeric_limits<std::int64_t>::min(), kMostInteger);
  if (version == kSchemaVersion) return;
  const char* remedy = version > kSchemaVersion ? "upgrade navit-edge (pip install --upgrade navit-edge)"
                                                : "export the model again with this version";
  JsonReader(document, {file, remedy})
      .at("schema_version")
      .fail(std::to_string(kSchemaVersion) + ", the schema that this version of navit-edge reads");
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
  check_version(document, file);
  const JsonReader json(document, {file, kRemedy});
  json.only({"schema_version", "name", "created_by", "model", "preprocess", "graphs", "engines", "labels", "tolerances",
             "golden", "files"});
  Manifest manifest;
  manifest.name = json.at("name").string();
  (void)json.at("created_by").string_map();
  manifest.model = parse_model(json.at("model"));
  manifest.preprocess = parse_preprocess(json.at("preprocess"));
  if (json.has("files")) parse_files(json.at("files"), manifest);
  if (json.has("labels")) {
    for (const JsonReader& item : json.at("labels").array(kLimits.labels)) manifest.labels.push_back(item.string());
  }
  for (const JsonReader& item : json.at("graphs").array(kLimits.graphs)) {
    manifest.graphs.push_back(parse_graph(item, manifest));
  }
  check_unique_ids(json.at("graphs"), kLimits.graphs);
  if (json.has("engines")) {
    for (const JsonReader& item : json.at("engines").array(kLimits.engines)) {
      manifest.engines.push_back(parse_engine(item, manifest));
    }
    check_unique_ids(json.at("engines"), kLimits.engines);
    check_group_ids(json.at("engines"), manifest);
  }
  if (json.has("tolerances")) check_tolerances(json.at("tolerances"));
  if (json.has("golden")) check_golden(json.at("golden"));
  return manifest;
}

}  // namespace navit_edge
