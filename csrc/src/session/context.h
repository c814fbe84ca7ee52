// What a session knows from its opening on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "engine/engine_choice.h"
#include "navit_edge/cores.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/plan.h"
#include "navit_edge/session.h"
#include "session/memory_limit.h"
#include "sizing/sizer.h"

namespace navit_edge {

/// Nothing of it changes after construction, but for `choice.candidates`, to which the first opening of engines adds.
struct SessionContext {
  /// Throws BundleError, BackendError, InvalidInput.
  SessionContext(const std::filesystem::path& bundle, SessionOptions session_options);

  [[nodiscard]] const Policy& policy_of(const std::optional<Policy>& asked) const noexcept {
    return asked ? *asked : sizer.policy();
  }
  /// The one place where an image is checked and gets its grid, for `run` and `submit`. Throws InvalidInput,
  /// OverBudget. Returns what Sizer::size does.
  double size_image(const ImageView& image, std::uint64_t index, const Policy& policy, const Load& load,
                    Result& result) const;
  /// How files are decoded: by the options, or else as the bundle says.
  [[nodiscard]] Decode decode() const noexcept { return options.decode.value_or(manifest.preprocess.decode); }
  /// As Session::resized_size.
  [[nodiscard]] std::optional<Size> resized_size(Size image, const Policy& policy) const;

  SessionOptions options;
  Manifest manifest;
  Process process;  // before anything of the session was loaded
  EngineChoice choice;
  MemoryLimit memory;  // before it, `options` and `choice` are changed so that they fit
  Sizer sizer;
  PackWriter writer;
  CpuLimits cpu;  // when it was opened
  int threads;
  int decoders;
  PlanLimits limits;  // of every plan; deadlines and devices apart
  bool on_cpu;        // the engine computes on the cores that preprocess, too
  /// When blank patches are found: as a pack is written, and then it is as long as what is left; or, if T is the
  /// budget's whatever is left, before the packs are planned, so that they are full.
  bool finds_blank_in_packs;
  /// Whether streams are for the session to choose: a CPU computes one pack on all its cores, or two on half of them.
  /// Not of several devices: they are streams already.
  bool may_pair;
};

inline constexpr int kPairedSlots = 2;

}  // namespace navit_edge
