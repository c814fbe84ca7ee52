// Which engine of a bundle, or which group of engines, runs here.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/device_list.h"
#include "navit_edge/session.h"

namespace navit_edge {

struct EngineChoice {
  EngineSpec engine;  // as one: of a group its id, the budgets of all its engines, the rest of the largest
  std::vector<EngineSpec> members;     // what is opened, largest budget last; the caller's backend options merged in
  std::vector<std::size_t> member_of;  // [budgets] index into `members`
  const Backend* backend = nullptr;    // of all members
  std::vector<DeviceSpec> devices;     // each opens all members
  std::vector<Candidate> candidates;   // in the order they were considered; the last one is `engine`
};

/// Walks the engines of the bundle: accelerators before CPUs, the manifest's order within; a group stands where its
/// first engine does, and is whole or not taken. If it and others of its kind of device were measured on the device
/// (`bench --calibrate`), the fastest of them is taken, a quantized one if the bundle says that it loses little. It
/// must run on each of `options.devices`. What `options.engine` names is the only candidate: an engine, of a group too,
/// or a group. Throws BackendError listing every candidate and its reason if none can run.
EngineChoice choose_engine(const Manifest& manifest, const SessionOptions& options);

}  // namespace navit_edge
