// A session that keeps the whole process under a limit: what it needs, and what is chosen so that it fits.
#pragma once

#include <cstddef>
#include <string>

#include "engine/engine_choice.h"
#include "navit_edge/engine_memory.h"
#include "navit_edge/manifest.h"
#include "navit_edge/session_options.h"

namespace navit_edge {

/// What a process is before a session is opened in it.
struct Process {
  std::size_t bytes = 0;     // that it holds
  bool has_library = false;  // those of the backend among them: another session has opened an engine
  static Process now() noexcept;
  static void opened_an_engine() noexcept;
};

/// Bytes of a process with a session in it, predicted (docs/memory.md). Pixels that wait, and results that are kept,
/// come on top.
struct SessionNeed {
  std::size_t process = 0;  // what it held before the engines were opened
  EngineNeed engine;        // of all engines that may be open at once
  std::size_t session = 0;  // slots and outputs
  std::size_t cache = 0;    // remembered results
  std::size_t spare = 0;    // under a limit: a tenth of `engine`, for what the prediction does not know
  [[nodiscard]] std::size_t total() const noexcept { return process + engine.total() + session + cache + spare; }
};

struct MemoryLimit {
  SessionNeed need;      // without a limit `process` alone
  std::size_t most = 0;  // SessionOptions::max_memory_bytes; 0: no limit
  std::size_t left = 0;  // for pixels and results; 0 without a limit
};

/// Of a session that is opened so, in a `process`.
SessionNeed need_of(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options,
                    Process process);

/// With a limit changes `choice` and `options` until what is needed fits, in this order: an engine of dynamic T is
/// opened for the largest pack that can come, and no larger; one pack at a time, unless slots were asked for; fewer
/// shapes are kept; packs are filled less, down to the longest image; pixels that wait take half of what is left.
/// Throws BackendError with the numbers if it cannot fit. Without a limit it changes nothing.
MemoryLimit keep_under(const Manifest& manifest, EngineChoice& choice, SessionOptions& options, Process process);

/// Whether a second set of engines may be opened, for two packs at once on a CPU.
bool pairs(const EngineChoice& choice, const SessionOptions& options);

/// `report` with "memory": the need and the limit, what the process held when the engines were `opened`, and holds now.
std::string with_memory(const std::string& report, const SessionNeed& need, const MemoryLimit& limit,
                        std::size_t opened);

}  // namespace navit_edge
