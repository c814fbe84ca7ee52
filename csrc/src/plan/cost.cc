#include "navit_edge/cost.h"

#include <algorithm>
#include <string>
#include <vector>

#include "navit_edge/cores.h"
#include "plan/assumed_rates.h"

namespace navit_edge {
namespace {

/// What `assumed_cost` assumes of a device.
struct Rates {
  double linear_flops_per_us;
  double attention_flops_per_us;  // softmax and memory take their share
  double fixed_us_per_layer;      // launches, and what else does not grow with the pack
};
constexpr Rates kCpu{300e3, 225e3, 150};  // 300 GFLOP/s: two cores with AVX-512 and bf16
constexpr Rates kGpu{20e6, 15e6, 40};     // 20 TFLOP/s

}  // namespace

double CostModel::pack_us(std::size_t budget, std::int32_t budget_tokens, const PackShape& pack) const noexcept {
  const auto tokens = static_cast<double>(dynamic_tokens ? pack.tokens : budget_tokens);
  double scores = 0;
  switch (attention) {
    case AttentionCost::kPadded:
      scores = static_cast<double>(pack.images) * static_cast<double>(pack.longest) * static_cast<double>(pack.longest);
      break;
    case AttentionCost::kSegments:
      scores = static_cast<double>(pack.squares);
      break;
    case AttentionCost::kWhole:
      scores = tokens * tokens;
      break;
  }
  return total_us(budget, 1, tokens, scores);
}

BudgetCost assumed_cost(const ModelSpec& model, DeviceKind device) noexcept {
  const Rates& rates = device == DeviceKind::kCpu ? kCpu : kGpu;
  const double width = model.width;
  const double depth = model.depth;
  // A multiply-add is two FLOPs. Queries, keys, values and projection: 4 D^2; the MLP: 2 D * its width. A score: one
  // product with the keys and one with the values, D each.
  // Behind a merge of tokens, the MLP of its block first, less is left of them, and the square of that of scores.
  const double keep = model.merging ? static_cast<double>(model.merging->kept) / model.merging->of : 1;
  const double before = model.merging ? model.merging->layer : depth;
  const double attentions = model.merging ? before + 1 : depth;
  const double linear = 2 * ((attentions + keep * (depth - attentions)) * 4 * width * width +
                             (before + keep * (depth - before)) * 2 * width * model.mlp_width);
  const double score = 4 * (attentions + keep * keep * (depth - attentions)) * width;
  return {rates.fixed_us_per_layer * depth, linear / rates.linear_flops_per_us, score / rates.attention_flops_per_us};
}

BudgetCost assumed_cost(const ModelSpec& model, DeviceKind device, Precision precision) noexcept {
  BudgetCost cost = assumed_cost(model, device);
  double slowness = 1;
  if (device == DeviceKind::kCpu) {
    const double gflops = core_gflops(precision, cpu_features()) * std::max(1, cpu_limits().cores());
    slowness = kCpu.linear_flops_per_us / (1e3 * gflops);
  } else if (device == DeviceKind::kGpu) {
    slowness = gpu_slowness(precision);
  }
  cost.fixed_us *= slowness;
  cost.us_per_token *= slowness;
  cost.us_per_score *= slowness;
  return cost;
}

CostModel cost_model(const Manifest& manifest, const EngineSpec& engine) {
  CostModel model;
  const Lowering lowering = manifest.graph(engine.graph).lowering;
  // TensorRT compiles `masked` into a kernel that skips foreign tiles; a CPU computes the whole matrix.
  const bool whole = lowering == Lowering::kMasked && engine.device == DeviceKind::kCpu;
  model.attention = lowering == Lowering::kPadded ? AttentionCost::kPadded
                    : whole                       ? AttentionCost::kWhole
                                                  : AttentionCost::kSegments;
  model.dynamic_tokens = engine.dynamic_tokens;
  model.measured = !engine.cost.empty();
  model.budgets = model.measured
                      ? engine.cost
                      : std::vector<BudgetCost>{assumed_cost(manifest.model, engine.device, engine.precision)};
  return model;
}

CostModel cost_model(const Manifest& manifest, const std::string& id) {
  std::vector<const EngineSpec*> members;
  for (const EngineSpec& engine : manifest.engines) {
    if (engine.group.id == id) members.push_back(&engine);
  }
  if (members.empty()) return cost_model(manifest, manifest.engine(id));
  std::sort(members.begin(), members.end(), [](const EngineSpec* a, const EngineSpec* b) {
    return a->budgets.back().tokens < b->budgets.back().tokens;
  });
  EngineSpec whole = *members.front();
  whole.cost.clear();
  whole.budgets.clear();
  for (const EngineSpec* member : members) {
    whole.cost.insert(whole.cost.end(), member->cost.begin(), member->cost.end());
    whole.budgets.insert(whole.budgets.end(), member->budgets.begin(), member->budgets.end());
  }
  if (whole.cost.size() != whole.budgets.size()) whole.cost.clear();
  return cost_model(manifest, whole);
}

}  // namespace navit_edge
