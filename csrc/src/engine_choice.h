// Which engine of a bundle runs here.
#pragma once

#include <string>
#include <vector>

#include "navit_edge/session.h"

namespace navit_edge {

struct EngineChoice {
  EngineSpec engine;  // with the caller's backend options merged in
  const Backend* backend = nullptr;
  Backend::Probe probe;
  std::vector<Candidate> candidates;  // in the order they were considered; the last one is `engine`
};

/// Walks the engines of the bundle: accelerators before CPUs, the manifest's order within. An engine named in
/// `options.engine` is the only candidate. Throws BackendError listing every candidate and its reason where none can
/// run.
EngineChoice choose_engine(const Manifest& manifest, const SessionOptions& options);

}  // namespace navit_edge
