// How much memory a session sets aside, without opening an engine, and how many cores this process has.
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "bindings.h"
#include "navit_edge/cores.h"
#include "navit_edge/error.h"
#include "navit_edge/memory.h"

namespace py = pybind11;

namespace navit_edge::bindings {

void bind_memory(py::module_& module) {
  module.attr("spare_outputs") = kSpareOutputs;
  module.def(
      "memory_plan",
      [](const std::filesystem::path& bundle, const std::string& engine, int threads) {
        if (threads < 1) {
          throw InvalidInput("threads is " + std::to_string(threads) + "; expected 1 and up");
        }
        const Manifest manifest = Manifest::load(bundle);
        const EngineMemory memory = memory_plan(manifest, manifest.engine(engine), threads);
        py::list budgets;
        for (const BudgetMemory& one : memory.budgets) {
          budgets.append(py::make_tuple(one.budget.tokens, one.budget.images, one.inputs, one.scratch, one.outputs));
        }
        return budgets;
      },
      py::arg("bundle"), py::arg("engine"), py::kw_only(), py::arg("threads"),
      "A tuple (tokens, images, inputs, scratch, outputs) for each budget of the engine, the last three in bytes.");
  module.def(
      "cpu_limits",
      [](const std::filesystem::path& root) {
        const CpuLimits limits = cpu_limits(root);
        return py::make_tuple(limits.affinity, limits.quota_cores, limits.cores(), limits.physical, limits.nodes,
                              limits.words());
      },
      py::arg("root") = "/",
      "(processors of the affinity mask, CPU time that control groups allow in cores or None, cores that can be kept "
      "busy, cores that the processors belong to or 0, their NUMA nodes, why so many can be kept busy).");
}

}  // namespace navit_edge::bindings
