// Backends and engines: found, checked, loaded on demand, behind the C table of backend_abi.h.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/manifest.h"
#include "navit_edge/pack.h"

namespace navit_edge {

/// Where backend libraries are searched: `explicit_dirs`, then NAVIT_EDGE_BACKEND_DIR, then beside this library,
/// then the install directory. Never the working directory.
struct BackendSearch {
  std::vector<std::filesystem::path> explicit_dirs;
  /// Directories of vendor libraries (for instance the openvino wheel's libs), opened before the backend is.
  std::vector<std::filesystem::path> vendor_dirs;
  /// Backend -> how the caller's users get what it needs, for the message of one that does not load. The core's own
  /// words, which are for programs in C++, if it is not named.
  std::map<std::string, std::string> install{};
};

/// A loaded backend library. Loaded once per process and never unloaded.
class NAVIT_EDGE_API Backend {
 public:
  /// Throws BackendError: what is missing and how to get it; if NAVIT_EDGE_DEBUG is set, every path that was tried,
  /// too.
  static const Backend& load(const std::string& name, const BackendSearch& search);

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] const std::filesystem::path& path() const noexcept;

  /// What would run `engine` here, or throws BackendError saying why nothing can.
  struct Probe {
    std::string library_version;
    std::string device;
  };
  [[nodiscard]] Probe probe(const EngineSpec& engine) const;

 private:
  friend class Engine;
  struct Impl;
  explicit Backend(std::unique_ptr<Impl> impl);
  ~Backend();
  std::unique_ptr<Impl> impl_;
};

struct EngineOptions {
  int slots = 1;    // runs in flight at once
  int threads = 0;  // for all slots together; 0: all cores, as far as a quota lets them (cores.h)
  std::map<std::string, std::string> backend;  // added to the manifest's options, the caller's win
};

/// One opened engine. `run` may be called from several threads at once with different slots.
class NAVIT_EDGE_API Engine {
 public:
  Engine(const Backend& backend, const Manifest& manifest, const EngineSpec& spec, const EngineOptions& options);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;

  /// Runs one pack. Borrows every tensor until it returns. `outputs` have their final shapes.
  void run(int slot, std::span<const HostTensor> inputs, std::span<HostTensor> outputs);

  /// Memory of `slot` for input `name`, `bytes` long; empty if the engine has none that is so long. A tensor that it
  /// is lent to (HostTensor::lend) is written where the engine reads: `run` copies nothing on the host. The engine's,
  /// and gone with it. May be called beside runs of other slots.
  [[nodiscard]] std::span<std::byte> input_memory(int slot, const std::string& name, std::size_t bytes) &;
  std::span<std::byte> input_memory(int slot, const std::string& name, std::size_t bytes) && = delete;

  /// What the engine says of itself, a JSON object: versions, memory, CUDA graphs. From any thread, beside runs.
  [[nodiscard]] std::string report() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Lends `pack` the memory that the engine has for the inputs of `graph` in `slot`, as long as the largest pack of
/// `budget` needs it. If the engine has none the pack keeps its own. The pack may then be run in this slot only
/// without a copy, and must not be written after the engine is gone.
NAVIT_EDGE_API void lend_inputs(Engine& engine, int slot, const GraphSpec& graph, const Budget& budget, Pack& pack);

}  // namespace navit_edge
