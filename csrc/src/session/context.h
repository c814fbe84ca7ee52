// What a session knows from its opening on.
#pragma once

#include <filesystem>

#include "engine/engine_choice.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/plan.h"
#include "navit_edge/session.h"
#include "sizing/sizer.h"

namespace navit_edge {

/// Nothing of it changes after construction, but for `choice.candidates`, to which the first opening of engines adds.
struct Opened {
  /// Throws BundleError, BackendError, InvalidInput.
  Opened(const std::filesystem::path& bundle, SessionOptions session_options);

  SessionOptions options;
  Manifest manifest;
  EngineChoice choice;
  Sizer sizer;
  PackWriter writer;
  int threads;
  PlanLimits limits;  // of every plan; deadlines apart
  bool on_cpu;        // the engine computes on the cores that preprocess, too
  /// Whether streams are for the session to choose: a CPU computes one pack on all its cores, or two on half of them.
  bool may_pair;
};

inline constexpr int kPairedSlots = 2;

}  // namespace navit_edge
