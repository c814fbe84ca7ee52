// How much memory a session sets aside, without opening an engine, and how many cores this process has.
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "bindings.h"
#include "navit_edge/cores.h"
#include "navit_edge/engine_memory.h"
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
      "engine_memory",
      [](const std::filesystem::path& bundle, const std::string& engine, int slots, std::int32_t tokens,
         std::int32_t capacity) {
        const Manifest manifest = Manifest::load(bundle);
        const EngineNeed need = engine_memory(manifest, manifest.engine(engine), {slots, tokens, capacity, 0});
        const std::size_t written = written_bytes(manifest, manifest.engine(engine), slots, cpu_limits().cores());
        return py::make_tuple(need.library, need.weights, need.activations, need.shapes, written);
      },
      py::arg("bundle"), py::arg("engine"), py::kw_only(), py::arg("slots"), py::arg("tokens"), py::arg("capacity"),
      "(library, weights, activations, shapes, written) that the engine itself takes, and its session writes to, in "
      "bytes; tokens and capacity 0: as by "
      "default.");
  module.def(
      "planned_memory",
      [](const std::filesystem::path& bundle, const std::string& graph, const std::string& precision,
         std::size_t file_bytes, std::int32_t tokens, std::int32_t images, std::int32_t target, int threads) {
        const Manifest manifest = Manifest::load(bundle);
        EngineSpec engine;
        engine.backend = "openvino";
        engine.precision = parse_word<Precision>(precision);
        engine.graph = graph;
        engine.dynamic_tokens = true;
        engine.budgets = {Budget{tokens, images, target, 0}};
        const EngineNeed need = engine_memory(manifest, engine, {1, 0, 0, file_bytes});
        return need.total() + written_bytes(manifest, engine, 1, threads);
      },
      py::arg("bundle"), py::arg("graph"), py::arg("precision"), py::arg("file_bytes"), py::kw_only(),
      py::arg("tokens"), py::arg("images"), py::arg("target"), py::arg("threads"),
      "Bytes by which a process grows that runs an engine for a CPU, which need not be built yet, with one slot.");
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
