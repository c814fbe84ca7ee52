// Planning on its own, without a bundle.
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <array>
#include <tuple>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/plan.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

using Triple = std::tuple<double, double, double>;
using BudgetTuple = std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t>;

PlanLimits limits_of(const std::vector<BudgetTuple>& budgets, const std::string& strategy, const std::string& base,
                     const std::vector<Triple>& cost, const std::string& attention, bool dynamic_tokens, int streams,
                     std::vector<double> deadlines_us) {
  PlanLimits limits;
  for (const auto& [tokens, images, target_tokens, longest] : budgets) {
    limits.budgets.push_back({tokens, images, target_tokens, longest});
  }
  limits.strategy = parse_word<Strategy>(strategy);
  limits.base = parse_word<Strategy>(base);
  limits.cost.attention = parse_word<AttentionCost>(attention);
  limits.cost.dynamic_tokens = dynamic_tokens;
  for (const auto& [fixed_us, us_per_token, us_per_score] : cost) {
    limits.cost.budgets.push_back({fixed_us, us_per_token, us_per_score});
  }
  limits.streams = streams;
  limits.deadlines_us = std::move(deadlines_us);
  return limits;
}

py::dict plan_dict(const Plan& plan) {
  py::list packs(plan.packs.size());  // of tuples, as navit_edge.planning.PackPlan has them
  for (std::size_t i = 0; i < plan.packs.size(); ++i) {
    const PackPlan& pack = plan.packs[i];
    packs[i] = py::make_tuple(pack.images, pack.tokens, pack.longest, pack.budget, pack.predicted_us / 1e3,
                              pack.finish_us / 1e3);
  }
  return py::dict(py::arg("packs") = packs, py::arg("late") = plan.late, py::arg("predicted_us") = plan.predicted_us,
                  py::arg("strategy") = word_of(plan.strategy));
}

}  // namespace

void bind_plan(py::module_& module) {
  module.def(
      "plan",
      [](const std::vector<std::int32_t>& token_counts, const std::vector<BudgetTuple>& budgets,
         const std::string& strategy, const std::string& base, const std::vector<Triple>& cost,
         const std::string& attention, bool dynamic_tokens, int streams, std::vector<double> deadlines_us) {
        const PlanLimits limits =
            limits_of(budgets, strategy, base, cost, attention, dynamic_tokens, streams, std::move(deadlines_us));
        Plan plan;
        {
          ReleasedGil release;
          plan = plan_packs(token_counts, limits);
        }
        return plan_dict(plan);
      },
      py::arg("token_counts"), py::kw_only(), py::arg("budgets"), py::arg("strategy"), py::arg("base"), py::arg("cost"),
      py::arg("attention"), py::arg("dynamic_tokens"), py::arg("streams"), py::arg("deadlines_us"),
      "Budgets are (tokens, images, target_tokens, longest), coefficients (fixed_us, us_per_token, us_per_score).");

  module.def(
      "cost_model",
      [](const std::filesystem::path& bundle, const std::string& engine) {
        const Manifest manifest = Manifest::load(bundle);
        const CostModel cost = cost_model(manifest, engine);
        std::vector<Triple> budgets;
        for (const BudgetCost& one : cost.budgets) {
          budgets.emplace_back(one.fixed_us, one.us_per_token, one.us_per_score);
        }
        return py::dict(py::arg("attention") = word_of(cost.attention), py::arg("dynamic_tokens") = cost.dynamic_tokens,
                        py::arg("measured") = cost.measured, py::arg("budgets") = budgets);
      },
      py::arg("bundle"), py::arg("engine"));

  module.def(
      "assumed_cost",
      [](std::int32_t width, std::int32_t depth, std::int32_t mlp_width, const std::string& target,
         const std::array<std::int32_t, 3>& merging) {
        ModelSpec model;
        model.width = width;
        model.depth = depth;
        model.mlp_width = mlp_width;
        const auto [layer, kept, of] = merging;
        if (kept > 0) model.merging = MergingSpec{layer, kept, of, 0};
        const BudgetCost cost = assumed_cost(model, target.starts_with("cpu") ? DeviceKind::kCpu : DeviceKind::kGpu);
        return Triple{cost.fixed_us, cost.us_per_token, cost.us_per_score};
      },
      py::kw_only(), py::arg("width"), py::arg("depth"), py::arg("mlp_width"), py::arg("target"),
      py::arg("merging") = py::make_tuple(0, 0, 0),
      "merging: (layer, kept, of) of a model that merges tokens; zeros of others.");
}

}  // namespace navit_edge::bindings
