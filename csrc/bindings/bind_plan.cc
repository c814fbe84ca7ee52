// Planning on its own, without a bundle.
#include <pybind11/stl.h>

#include "bindings.h"
#include "navit_edge/error.h"
#include "navit_edge/plan.h"

namespace py = pybind11;

namespace navit_edge::bindings {

void bind_plan(py::module_& module) {
  module.def(
      "plan",
      [](const std::vector<std::int32_t>& token_counts, const std::vector<std::int32_t>& token_budgets,
         std::int32_t max_images, const std::string& strategy) {
        PlanLimits limits;
        limits.strategy = parse_strategy(strategy);
        for (const std::int32_t tokens : token_budgets) limits.budgets.push_back({tokens, max_images, tokens});
        py::gil_scoped_release release;
        const auto packs = plan_packs(token_counts, limits);
        py::gil_scoped_acquire acquire;
        py::list out;
        for (const auto& pack : packs) out.append(py::cast(pack.images));
        return out;
      },
      py::arg("token_counts"), py::kw_only(), py::arg("token_budgets"), py::arg("max_images"), py::arg("strategy"));
}

}  // namespace navit_edge::bindings
