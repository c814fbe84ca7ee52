#include "navit_edge/manifest.h"

#include <algorithm>
#include <limits>
#include <set>
#include <system_error>

#include "bundle_file.h"
#include "file.h"
#include "filters.h"
#include "json_reader.h"
#include "navit_edge/error.h"
#include "navit_edge/plan.h"
#include "sizing_spec.h"

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSchemaVersion = 1;
constexpr std::uint64_t kMostManifestBytes = std::uint64_t{16} << 20;
constexpr const char* kManifestName = "manifest.json";
constexpr const char* kRemedy = "copy the bundle again or export the model again";

/// True where `name` is a relative path that stays inside of the bundle, spelled the one plain way.
bool stays_inside(const std::string& name) {
  if (name.empty() || name.find('\\') != std::string::npos || name.find('\0') != std::string::npos) return false;
  const fs::path path(name);
  if (path.is_absolute()) return false;
  return std::all_of(path.begin(), path.end(),
                     [](const fs::path& part) { return !part.empty() && part != ".." && part != "."; });
}

std::string file_name(const JsonReader& json) {
  std::string name = json.string();
  if (!stays_inside(name)) json.fail("a relative path inside of the bundle, without '..', '.' or '\\'");
  return name;
}

template <class Names>
std::string one_of(const JsonReader& json, const Names& names) {
  std::string value = json.string();
  std::string list;
  for (const auto& name : names) {
    if (value == name) return value;
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  json.fail("one of " + list);
}

std::string one_of(const JsonReader& json, std::initializer_list<const char*> names) {
  return one_of<std::initializer_list<const char*>>(json, names);
}

std::string identifier(const JsonReader& json) {
  std::string id = json.string();
  if (id.empty()) json.fail("a name");
  return id;
}

DType parse_dtype(const JsonReader& json) {
  const std::string name = json.string();
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kUInt8, DType::kInt32}) {
    if (name == dtype_name(dtype)) return dtype;
  }
  json.fail("one of float32, float16, bfloat16, uint8, int32");
}

TensorSpec parse_tensor(const JsonReader& json) {
  TensorSpec tensor;
  tensor.name = identifier(json.at("name"));
  tensor.dtype = parse_dtype(json.at("dtype"));
  for (const JsonReader& item : json.at("shape").array()) {
    Dim dim;
    if (item.is_string()) {
      const std::string name = one_of(item, {"T", "T/4", "N", "L", "N+1"});
      dim = {name.front(), name == "N+1" ? 1 : 0, name == "T/4" ? 4 : 1};
    } else {
      dim.extent = item.int32(1);
    }
    tensor.shape.push_back(dim);
  }
  return tensor;
}

std::vector<TensorSpec> parse_tensors(const JsonReader& json) {
  std::vector<TensorSpec> tensors;
  std::set<std::string> names;
  for (const JsonReader& item : json.array()) {
    tensors.push_back(parse_tensor(item));
    if (!names.insert(tensors.back().name).second) item.fail("a name that no other tensor of the list has");
  }
  if (tensors.empty()) json.fail("at least one tensor");
  return tensors;
}

GraphSpec parse_graph(const JsonReader& json) {
  GraphSpec graph;
  graph.id = identifier(json.at("id"));
  graph.lowering = one_of(json.at("lowering"), {"masked", "padded", "packed"});
  if (json.has("quantization")) graph.quantization = one_of(json.at("quantization"), {"none", "int8", "fp8"});
  graph.file = file_name(json.at("file"));
  graph.inputs = parse_tensors(json.at("inputs"));
  graph.outputs = parse_tensors(json.at("outputs"));
  return graph;
}

std::vector<Budget> parse_budgets(const JsonReader& json) {
  std::vector<Budget> budgets;
  for (const JsonReader& item : json.array()) {
    Budget budget;
    budget.tokens = item.at("tokens").int32(1);
    budget.images = item.at("images").int32(1);
    budget.target_tokens = static_cast<std::int32_t>(item.at("target_tokens").integer(1, budget.tokens));
    if (item.has("longest")) budget.longest = static_cast<std::int32_t>(item.at("longest").integer(1, budget.tokens));
    if (!budgets.empty() && budget.tokens <= budgets.back().tokens) item.fail("budgets that ascend in tokens");
    budgets.push_back(budget);
  }
  if (budgets.empty()) json.fail("at least one budget");
  return budgets;
}

/// The coefficients that `bench --calibrate` measured, one set for each budget.
std::vector<BudgetCost> parse_cost(const JsonReader& json, std::size_t budgets) {
  std::vector<BudgetCost> cost;
  for (const JsonReader& item : json.at("budgets").array()) {
    cost.push_back({item.at("fixed_us").positive_number(), item.at("us_per_token").positive_number(),
                    item.at("us_per_score").positive_number()});
  }
  if (cost.size() != budgets) json.at("budgets").fail("as many entries as the engine has budgets");
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
  EngineGroup group;
  group.id = identifier(json.at("id"));
  const JsonReader members = json.at("members");
  for (const JsonReader& item : members.array()) group.members.push_back(identifier(item));
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

EngineSpec parse_engine(const JsonReader& json) {
  EngineSpec engine;
  engine.id = identifier(json.at("id"));
  engine.backend = backend_name(json.at("backend"));
  engine.target = identifier(json.at("target"));
  engine.precision = one_of(json.at("precision"), {"fp32", "fp16", "bf16", "int8", "fp8"});
  if (json.has("float_precision")) {
    engine.float_precision = one_of(json.at("float_precision"), {"", "fp32", "fp16", "bf16"});
  }
  engine.graph = identifier(json.at("graph"));
  engine.strategy = one_of(json.at("strategy"), strategy_names());
  engine.dynamic_tokens = json.at("dynamic_tokens").boolean();
  engine.budgets = parse_budgets(json.at("budgets"));
  if (json.has("cost")) engine.cost = parse_cost(json.at("cost"), engine.budgets.size());
  engine.file = file_name(json.at("file"));
  engine.builder = json.at("builder").string_map();
  if (json.has("options")) engine.options = parse_options(json.at("options"));
  if (json.has("group")) engine.group = parse_group(json.at("group"), engine.id);
  return engine;
}

PreprocessSpec parse_preprocess(const JsonReader& json) {
  PreprocessSpec preprocess;
  preprocess.filter = one_of(json.at("filter"), resize_filter_names());
  preprocess.patch_px = static_cast<std::int32_t>(json.at("patch_px").integer(1, 1024));
  preprocess.channels = static_cast<std::int32_t>(json.at("channels").integer(kChannels, kChannels));
  preprocess.sizing = read_sizing(json.at("sizing"), preprocess.patch_px);
  if (json.has("alpha")) preprocess.alpha = one_of(json.at("alpha"), {"drop", "composite", "reject"});
  if (json.has("orientation")) preprocess.orientation = one_of(json.at("orientation"), {"apply", "as-decoded"});
  if (json.has("icc")) preprocess.icc = one_of(json.at("icc"), {"ignore", "srgb"});
  if (json.has("background")) {
    const auto colour = json.at("background").array();
    if (colour.size() != preprocess.background.size()) json.at("background").fail("three values of 0..255: R, G, B");
    for (std::size_t c = 0; c < colour.size(); ++c) {
      preprocess.background[c] = static_cast<std::uint8_t>(colour[c].integer(0, 255));
    }
  }
  return preprocess;
}

/// By the names that model configs have for it.
std::int32_t mlp_width(const JsonReader& model, std::int32_t width) {
  if (model.has("config")) {
    const JsonReader config = model.at("config");
    for (const char* name : {"mlp_width", "intermediate_size"}) {
      if (config.has(name) && config.at(name).is_integer()) return config.at(name).int32(1);
    }
  }
  return 4 * width;
}

ModelSpec parse_model(const JsonReader& json) {
  ModelSpec model;
  model.family = identifier(json.at("family"));
  model.width = json.at("width").int32(1);
  model.depth = json.at("depth").int32(1);
  model.mlp_width = mlp_width(json, model.width);
  model.prefix_tokens = static_cast<std::int32_t>(json.at("prefix_tokens").integer(0, 1024));
  if (json.has("token_merge")) model.token_merge = static_cast<std::int32_t>(json.at("token_merge").integer(1, 2));
  return model;
}

FileSpec parse_file(const JsonReader& json) {
  FileSpec file;
  const JsonReader hash = json.at("sha256");
  file.sha256 = hash.string();
  const bool hex = file.sha256.size() == 64 && std::all_of(file.sha256.begin(), file.sha256.end(), [](char c) {
                     return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                   });
  if (!hex) hash.fail("64 lower-case hexadecimal digits");
  file.bytes = static_cast<std::uint64_t>(json.at("bytes").integer(0, std::numeric_limits<std::int64_t>::max()));
  return file;
}

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

template <class Spec>
void check_unique_ids(const JsonReader& list, const std::vector<Spec>& specs) {
  std::set<std::string> ids;
  for (const Spec& spec : specs) {
    if (!ids.insert(spec.id).second) list.fail("ids that differ; '" + spec.id + "' is there twice");
  }
}

nlohmann::json read_document(const fs::path& bundle) {
  const fs::path path = bundle / kManifestName;
  std::error_code error;
  if (!fs::is_directory(bundle, error)) {
    throw BundleError("no bundle at " + bundle.string() + (fs::exists(bundle, error) ? ": it is not a directory" : "") +
                      "; expected a directory made by `navit-edge export`");
  }
  if (!fs::exists(fs::symlink_status(path, error))) {
    throw BundleError(path.string() + " is missing; expected a bundle made by `navit-edge export`");
  }
  const std::string text = RegularFile(path, kMostManifestBytes, kRemedy).read();
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    throw BundleError(path.string() + " is not JSON (" + e.what() + "); " + kRemedy);
  }
}

}  // namespace

Manifest Manifest::load(const fs::path& bundle) {
  const nlohmann::json document = read_document(bundle);
  const JsonReader json(document, (bundle / kManifestName).string(), kRemedy);

  const JsonReader version = json.at("schema_version");
  if (version.integer(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()) !=
      kSchemaVersion) {
    version.fail(std::to_string(kSchemaVersion) + ", the schema this version of navit-edge reads");
  }

  Manifest manifest;
  manifest.bundle = bundle;
  manifest.name = json.at("name").string();
  manifest.model = parse_model(json.at("model"));
  manifest.preprocess = parse_preprocess(json.at("preprocess"));
  if (json.has("files")) {
    for (const auto& [name, value] : json.at("files").object()) {
      if (!stays_inside(name)) value.fail("a file inside of the bundle, not '" + name + "'");
      manifest.files.emplace(name, parse_file(value));
    }
  }
  for (const JsonReader& item : json.at("graphs").array()) manifest.graphs.push_back(parse_graph(item));
  check_unique_ids(json.at("graphs"), manifest.graphs);
  if (json.has("engines")) {
    for (const JsonReader& item : json.at("engines").array()) {
      manifest.engines.push_back(parse_engine(item));
      const EngineSpec& engine = manifest.engines.back();
      const auto same = [&](const GraphSpec& graph) { return graph.id == engine.graph; };
      if (std::none_of(manifest.graphs.begin(), manifest.graphs.end(), same)) {
        item.at("graph").fail("one of the bundle's graphs: " + ids_of(manifest.graphs));
      }
      if (!manifest.files.contains(engine.file)) item.at("file").fail("a file that `files` lists with its sha256");
    }
    check_unique_ids(json.at("engines"), manifest.engines);
    for (const EngineSpec& engine : manifest.engines) {
      const auto same = [&](const EngineSpec& other) { return other.group.id == engine.id; };
      if (std::any_of(manifest.engines.begin(), manifest.engines.end(), same)) {
        json.at("engines").fail("ids of groups that are no engine's; '" + engine.id + "' is both");
      }
    }
  }
  if (json.has("labels")) {
    for (const JsonReader& item : json.at("labels").array()) manifest.labels.push_back(item.string());
  }
  return manifest;
}

FileBytes Manifest::verified_bytes(const std::string& file) const {
  if (!stays_inside(file)) {
    throw BundleError("'" + file + "' leaves the bundle " + bundle.string() +
                      "; expected a relative path inside of it; " + kRemedy);
  }
  const auto listed = files.find(file);
  if (listed == files.end()) {
    throw BundleError("'" + file + "' is not listed in " + (bundle / kManifestName).string() +
                      ", so its contents cannot be checked; " + kRemedy);
  }
  return read_verified(
      bundle, file, listed->second,
      file.starts_with("engines/") ? "build the engine again with `navit-edge build-engine`" : kRemedy);
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

const GraphSpec& Manifest::graph(const std::string& id) const& { return find_id(graphs, id, "graph", *this, kRemedy); }

}  // namespace navit_edge
