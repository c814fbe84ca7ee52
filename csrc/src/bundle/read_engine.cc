#include "bundle/read_engine.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

#include "bundle/manifest_fields.h"

namespace navit_edge {
namespace {

constexpr const ManifestLimits& kLimits = kManifestLimits;
constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();

/// Targets of a GPU are named by its architecture: "sm86+sm89".
DeviceKind device_of(std::string_view target) {
  if (target.starts_with("cpu")) return DeviceKind::kCpu;
  return target.starts_with("npu") ? DeviceKind::kNpu : DeviceKind::kGpu;
}

std::vector<Budget> read_budgets(const JsonReader& json) {
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
std::vector<BudgetCost> read_cost(const JsonReader& json, std::size_t budgets) {
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

EngineGroup read_group(const JsonReader& json, const std::string& engine) {
  json.only({"id", "members"});
  EngineGroup group;
  group.id = read_id(json.at("id"));
  const JsonReader members = json.at("members");
  for (const JsonReader& item : members.array(kLimits.engines)) group.members.push_back(read_id(item));
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

}  // namespace

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
  if (json.has_value("cost")) engine.cost = read_cost(json.at("cost"), engine.budgets.size());
  engine.file = read_listed_file(json.at("file"), manifest);
  engine.builder = json.at("builder").string_map();
  if (json.has("options")) engine.options = read_options(json.at("options"));
  if (json.has_value("report")) (void)read_listed_file(json.at("report"), manifest);
  if (json.has_value("group")) engine.group = read_group(json.at("group"), engine.id);
  return engine;
}

void check_group_ids(const JsonReader& list, const Manifest& manifest) {
  std::set<std::string> ids;
  for (const EngineSpec& engine : manifest.engines) ids.insert(engine.id);
  const auto items = list.array(kLimits.engines);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (ids.contains(manifest.engines[i].group.id)) items[i].at("group").at("id").fail("an id that is no engine's");
  }
}

}  // namespace navit_edge
