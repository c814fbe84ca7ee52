#include "bundle/read_engines.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <set>
#include <string_view>

#include "bundle/manifest_limits.h"
#include "bundle/merge_shapes.h"
#include "navit_edge/manifest_text.h"

namespace navit_edge {
namespace {

constexpr std::array<std::string_view, 7> kLetterWords{"T", "T/4", "T/9", "T/16", "N", "L", "N+1"};
constexpr std::array<Dim, 7> kLetters{
    {{'T', 0, 1}, {'T', 0, 4}, {'T', 0, 9}, {'T', 0, 16}, {'N', 0, 1}, {'L', 0, 1}, {'N', 1, 1}}};

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/// Stands in messages, in file names and on command lines.
std::string read_id(const JsonReader& json) {
  std::string id = json.string();
  const bool plain = !id.empty() && is_letter_or_digit(id.front()) && std::all_of(id.begin(), id.end(), [](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '_' || c == '+' || c == '-';
  });
  if (!plain) json.fail("letters, digits and . _ + -, the first a letter or digit");
  return id;
}

/// Each entry's id once.
void check_unique_ids(const JsonReader& list, std::size_t most) {
  std::set<std::string> ids;
  for (const JsonReader& item : list.array(most)) {
    const JsonReader id = item.at("id");
    if (!ids.insert(id.string()).second) id.fail("an id that no other entry has; this one is there twice");
  }
}

/// Words of shapes that only graphs have which merge tokens.
std::vector<Dim> merge_dims(const ModelSpec& model) {
  if (!model.merging) return {};
  const MergeShapes shapes = merge_shapes(model);
  return {shapes.rows, shapes.groups, shapes.longest};
}

TensorSpec read_tensor(const JsonReader& json, std::span<const Dim> more_dims) {
  json.only({"name", "dtype", "shape"});
  TensorSpec tensor;
  tensor.name = json.at("name").name();
  tensor.dtype = json.at("dtype").word<DType>();
  const JsonReader shape = json.at("shape");
  for (const JsonReader& item : shape.array(kManifestLimits.dimensions)) {
    Dim dim;
    const auto same = [&](const Dim& one) { return item.is_string() && item.string() == merge_word(one); };
    const auto found = std::find_if(more_dims.begin(), more_dims.end(), same);
    if (found != more_dims.end()) {
      dim = *found;
    } else if (item.is_string()) {
      dim = kLetters[item.word_index(kLetterWords)];
    } else {
      dim.extent = item.int32(1);
    }
    tensor.shape.push_back(dim);
  }
  if (tensor.shape.empty()) shape.fail("one extent or more");
  return tensor;
}

/// How rows of so many patches a side are written.
std::string rows_in_words(std::int32_t merge) { return merge == 1 ? "T" : "T/" + std::to_string(merge * merge); }

/// Rows of "tokens" follow the model's merging; logits have a label each, where there are labels.
void check_outputs(const JsonReader& json, const GraphSpec& graph, const Manifest& manifest) {
  const std::int32_t merge = manifest.model.token_merge;
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    const TensorSpec& tensor = graph.outputs[i];
    const Dim& rows = tensor.shape.front();
    const auto shape = [&] { return json.array(kManifestLimits.tensors)[i].at("shape"); };
    if (tensor.name == "tokens" && rows.symbol != '\0' && (rows.symbol != 'T' || rows.parts != merge * merge)) {
      shape().fail(rows_in_words(merge) + " rows of tokens with token_merge " + std::to_string(merge));
    }
    if (tensor.name == word_of(GraphOutput::kAttentionMap) && rows.symbol != '\0' &&
        (rows.symbol != 'T' || rows.parts != 1)) {
      shape().fail("T rows of attention_map");
    }
    const Dim& classes = tensor.shape.back();
    if (tensor.name == "logits" && !manifest.labels.empty() &&
        (classes.symbol != '\0' || classes.extent != static_cast<std::int64_t>(manifest.labels.size()))) {
      shape().fail("one class for each of the " + std::to_string(manifest.labels.size()) + " labels");
    }
  }
}

/// What the rows of "projected" and "deepstack" stand for, the same in every graph.
void read_merges(const JsonReader& json, const GraphSpec& graph, Manifest& manifest) {
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    const TensorSpec& tensor = graph.outputs[i];
    const bool projected = tensor.name == word_of(GraphOutput::kProjected);
    if (!projected && tensor.name != word_of(GraphOutput::kDeepstack)) continue;
    std::int32_t& merge = projected ? manifest.model.projected_merge : manifest.model.deepstack_merge;
    const Dim& rows = tensor.shape.front();
    const bool first = std::none_of(manifest.graphs.begin(), manifest.graphs.end(), [&](const GraphSpec& other) {
      return std::any_of(other.outputs.begin(), other.outputs.end(),
                         [&](const TensorSpec& one) { return one.name == tensor.name; });
    });
    const JsonReader shape = json.array(kManifestLimits.tensors)[i].at("shape");
    if (rows.parts > 1 && manifest.model.prefix_tokens > 0)
      shape.fail("T rows of " + tensor.name + " behind prefix tokens");
    if (rows.symbol != 'T') shape.fail("T, T/4, T/9 or T/16 rows of " + tensor.name);
    if (!first && rows.parts != merge * merge) {
      shape.fail(rows_in_words(merge) + " rows of " + tensor.name + ", as the graph before has");
    }
    while (merge * merge < rows.parts) ++merge;
  }
}

/// What is merged is filled by what the model says, so the shapes must be those.
void check_merge_inputs(const JsonReader& json, const GraphSpec& graph, const ModelSpec& model) {
  for (std::size_t i = 0; i < graph.inputs.size(); ++i) {
    const std::optional<GraphInput> input = find_word<GraphInput>(graph.inputs[i].name);
    if (!input || *input < GraphInput::kMergeGroups) continue;
    const JsonReader tensor = json.array(kManifestLimits.tensors)[i];
    if (!model.merging) tensor.at("name").fail("model.merging beside it");
    if (graph.inputs[i].shape != merge_input_shape(*input, model)) {
      tensor.at("shape").fail("the shape that model.merging gives it (docs/tokens.md)");
    }
  }
}

/// How many frames the patches of the first graph hold; whether the others fit is checked when they are used.
void read_frames(const GraphSpec& graph, PreprocessSpec& preprocess) {
  const std::int64_t frame = std::int64_t{preprocess.patch_px} * preprocess.patch_px * preprocess.channels;
  for (const TensorSpec& tensor : graph.inputs) {
    if (tensor.name != word_of(GraphInput::kPatches) || tensor.shape.size() != 2) continue;
    if (tensor.shape[1].symbol == '\0' && tensor.shape[1].extent == 2 * frame) preprocess.frames = 2;
  }
}

GraphSpec read_graph(const JsonReader& json, Manifest& manifest) {
  json.only({"id", "lowering", "quantization", "file", "opset", "inputs", "outputs"});
  GraphSpec graph;
  graph.id = read_id(json.at("id"));
  graph.lowering = json.at("lowering").word<Lowering>();
  if (json.has("quantization")) graph.quantization = json.at("quantization").word<Quantization>();
  graph.file = read_listed_file(json.at("file"), manifest);
  (void)json.at("opset").int32(1);
  const std::vector<Dim> dims = merge_dims(manifest.model);
  graph.inputs = read_tensors(json.at("inputs"), dims);
  graph.outputs = read_tensors(json.at("outputs"));
  check_merge_inputs(json.at("inputs"), graph, manifest.model);
  check_outputs(json.at("outputs"), graph, manifest);
  read_merges(json.at("outputs"), graph, manifest);
  if (manifest.graphs.empty()) read_frames(graph, manifest.preprocess);
  return graph;
}

/// Targets of a GPU are named by its architecture: "sm86+sm89".
DeviceKind device_of(std::string_view target) {
  if (target.starts_with("cpu")) return DeviceKind::kCpu;
  return target.starts_with("npu") ? DeviceKind::kNpu : DeviceKind::kGpu;
}

std::vector<Budget> read_budgets(const JsonReader& json) {
  std::vector<Budget> budgets;
  for (const JsonReader& item : json.array(kManifestLimits.budgets)) {
    item.only({"tokens", "images", "target_tokens", "activation_bytes", "longest"});
    Budget budget;
    budget.tokens = item.at("tokens").int32(1, kManifestLimits.tokens);
    budget.images = item.at("images").int32(1, kManifestLimits.images);
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

/// The coefficients that `bench --calibrate` measured, one set for each budget, and on what.
void read_cost(const JsonReader& json, EngineSpec& engine) {
  json.only({"budgets", "packs", "r_squared", "mean_error", "threads", "device"});
  std::vector<BudgetCost> cost;
  for (const JsonReader& item : json.at("budgets").array(kManifestLimits.budgets)) {
    item.only({"fixed_us", "us_per_token", "us_per_score"});
    cost.push_back({item.at("fixed_us").positive_number(), item.at("us_per_token").positive_number(),
                    item.at("us_per_score").positive_number()});
  }
  if (cost.size() != engine.budgets.size()) json.at("budgets").fail("as many entries as the engine has budgets");
  (void)json.at("packs").integer(0, kMostInteger);
  (void)json.at("r_squared").number();
  (void)json.at("mean_error").number();
  engine.cost_threads = json.at("threads").int32(0);
  engine.cost_device = json.at("device").string();
  engine.cost = std::move(cost);
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

EngineGroup read_group(const JsonReader& json, const std::string& engine) {
  json.only({"id", "members"});
  EngineGroup group;
  group.id = read_id(json.at("id"));
  const JsonReader members = json.at("members");
  for (const JsonReader& item : members.array(kManifestLimits.engines)) group.members.push_back(read_id(item));
  const std::set<std::string> different(group.members.begin(), group.members.end());
  if (different.size() < 2 || different.size() != group.members.size() || !different.contains(engine)) {
    members.fail("ids of two or more engines, each once and '" + engine + "' among them");
  }
  return group;
}

/// Options that name code to load are the caller's alone: a bundle may come from anywhere.
std::map<std::string, std::string> read_options(const JsonReader& json) {
  std::map<std::string, std::string> options = json.string_map();
  for (const char* key : {"tensorrt_dir", "tensorrt_wheels", "lean_runtime", "engine_host_code"}) {
    if (options.contains(key)) json.at(key).fail("no such option in a bundle: give it to the session");
  }
  return options;
}

EngineSpec read_engine(const JsonReader& json, const Manifest& manifest) {
  json.only({"id", "backend", "target", "precision", "float_precision", "graph", "strategy", "dynamic_tokens",
             "budgets", "file", "builder", "options", "report", "group", "cost"});
  EngineSpec engine;
  engine.id = read_id(json.at("id"));
  engine.backend = backend_name(json.at("backend"));
  engine.target = read_id(json.at("target"));
  engine.device = device_of(engine.target);
  engine.precision = json.at("precision").word<Precision>();
  if (json.has("float_precision")) {
    constexpr std::array<std::string_view, 4> kFloats{"", "fp32", "fp16", "bf16"};
    const std::string_view word = kFloats[json.at("float_precision").word_index(kFloats)];
    engine.float_precision = find_word<Precision>(word);
  }
  engine.graph = read_id(json.at("graph"));
  const auto same = [&](const GraphSpec& graph) { return graph.id == engine.graph; };
  if (std::none_of(manifest.graphs.begin(), manifest.graphs.end(), same)) {
    std::vector<std::string_view> ids;
    for (const GraphSpec& graph : manifest.graphs) ids.emplace_back(graph.id);
    json.at("graph").fail("one of the bundle's graphs: " + list_of(ids));
  }
  engine.strategy = json.at("strategy").word<Strategy>();
  engine.dynamic_tokens = json.at("dynamic_tokens").boolean();
  engine.budgets = read_budgets(json.at("budgets"));
  if (json.has_value("cost")) read_cost(json.at("cost"), engine);
  engine.file = read_listed_file(json.at("file"), manifest);
  engine.builder = json.at("builder").string_map();
  if (json.has("options")) engine.options = read_options(json.at("options"));
  if (json.has_value("report")) (void)read_listed_file(json.at("report"), manifest);
  if (json.has_value("group")) engine.group = read_group(json.at("group"), engine.id);
  return engine;
}

/// Of the text tower: without what packs of images need.
EngineSpec read_text_engine(const JsonReader& json, const Manifest& manifest) {
  json.only({"id", "backend", "target", "precision", "file", "builder", "options", "report"});
  EngineSpec engine;
  engine.id = read_id(json.at("id"));
  engine.backend = backend_name(json.at("backend"));
  engine.target = read_id(json.at("target"));
  engine.device = device_of(engine.target);
  engine.precision = json.at("precision").word<Precision>();
  engine.graph = "text";
  engine.file = read_listed_file(json.at("file"), manifest);
  engine.builder = json.at("builder").string_map();
  if (json.has("options")) engine.options = read_options(json.at("options"));
  if (json.has_value("report")) (void)read_listed_file(json.at("report"), manifest);
  return engine;
}

void check_group_ids(const JsonReader& list, const Manifest& manifest) {
  std::set<std::string> ids;
  for (const EngineSpec& engine : manifest.engines) ids.insert(engine.id);
  const auto items = list.array(kManifestLimits.engines);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (ids.contains(manifest.engines[i].group.id)) items[i].at("group").at("id").fail("an id that is no engine's");
  }
}

}  // namespace

std::string read_listed_file(const JsonReader& json, const Manifest& manifest) {
  std::string name = json.string();
  if (!stays_inside(name)) {
    json.fail("a relative path inside of the bundle, without '..', '.', '//', '\\' or a drive, not manifest.json");
  }
  if (!manifest.files.contains(name)) json.fail("a file that `files` lists with its sha256");
  return name;
}

std::vector<TensorSpec> read_tensors(const JsonReader& json, std::span<const Dim> more_dims) {
  std::vector<TensorSpec> tensors;
  std::set<std::string> names;
  for (const JsonReader& item : json.array(kManifestLimits.tensors)) {
    tensors.push_back(read_tensor(item, more_dims));
    if (!names.insert(tensors.back().name).second) item.fail("a name that no other tensor of the list has");
  }
  if (tensors.empty()) json.fail("at least one tensor");
  return tensors;
}

std::vector<EngineSpec> read_text_engines(const JsonReader& json, const Manifest& manifest) {
  std::vector<EngineSpec> engines;
  for (const JsonReader& item : json.array(kManifestLimits.engines))
    engines.push_back(read_text_engine(item, manifest));
  check_unique_ids(json, kManifestLimits.engines);
  return engines;
}

void read_graphs(const JsonReader& json, Manifest& manifest) {
  for (const JsonReader& item : json.array(kManifestLimits.graphs))
    manifest.graphs.push_back(read_graph(item, manifest));
  check_unique_ids(json, kManifestLimits.graphs);
}

void read_engines(const JsonReader& json, Manifest& manifest) {
  for (const JsonReader& item : json.array(kManifestLimits.engines))
    manifest.engines.push_back(read_engine(item, manifest));
  check_unique_ids(json, kManifestLimits.engines);
  check_group_ids(json, manifest);
}

}  // namespace navit_edge
