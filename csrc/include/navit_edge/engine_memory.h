// How much memory an engine itself takes: predicted from the manifest alone, no engine is opened (docs/memory.md).
#pragma once

#include <cstddef>
#include <cstdint>

#include "navit_edge/manifest.h"

namespace navit_edge {

/// Host bytes of an engine, beside what a session sets aside (memory.h).
struct EngineNeed {
  std::size_t library = 0;      // the vendor's libraries, once in a process; 0: not known
  std::size_t weights = 0;      // the engine's file, and the weights as the processor wants them
  std::size_t activations = 0;  // of the largest packs of all slots
  std::size_t shapes = 0;       // kept for shapes, when what may be kept is full
  [[nodiscard]] std::size_t total() const noexcept { return library + weights + activations + shapes; }
};

/// As an engine is opened.
struct EngineLoad {
  int slots = 1;
  std::int32_t tokens = 0;     // T of the largest pack; 0: largest_pack of the manifest's budgets
  std::int32_t capacity = 0;   // shapes that are kept (CPU_RUNTIME_CACHE_CAPACITY); 0: as many as by default
  std::size_t file_bytes = 0;  // of the engine's file; 0: as the manifest says
};

/// Of `engine` on a CPU by what was measured with OpenVINO (docs/memory.md), the parts in proportion to the file, to T
/// and to the width of the model. Of a GPU's engine: its file, which is in host memory while it opens.
NAVIT_EDGE_API EngineNeed engine_memory(const Manifest& manifest, const EngineSpec& engine,
                                        const EngineLoad& load = {});

/// T of the largest pack that can come: of an engine of dynamic T that is where the planner stops filling packs, or the
/// longest image that the sizing rule gives, else the largest budget.
NAVIT_EDGE_API std::int32_t largest_pack(const Manifest& manifest, const EngineSpec& engine);

/// Shapes that an engine of OpenVINO with so large a file keeps by default (docs/memory.md).
NAVIT_EDGE_API std::int32_t default_capacity(std::size_t file_bytes) noexcept;

}  // namespace navit_edge
