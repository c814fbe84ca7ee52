// Cascades: which results of a first pass stand, and which images run again (docs/policies.md).
#pragma once

#include <cstdint>
#include <span>

#include "base/clock.h"
#include "base/function_ref.h"
#include "navit_edge/result.h"
#include "navit_edge/vocabulary.h"
#include "session/context.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

/// What a cascade compares with `accept`, of at least one logit.
[[nodiscard]] double cascade_score(std::span<const float> logits, Scores scores, CascadeScore by) noexcept;

/// Whether the image has had its first pass and waits for the second, or runs in it. Between the passes its result has
/// the second one's grid and no outputs.
[[nodiscard]] inline bool runs_again(const Result& result) noexcept {
  return result.error == nullptr && result.reason.step == CascadeStep::kAgain;
}

/// Whether another image of the same content would get this result, whenever it comes.
[[nodiscard]] inline bool is_lasting(const Result& result) noexcept {
  return result.error == nullptr && result.reason.step != CascadeStep::kAgain &&
         result.reason.step != CascadeStep::kKept;
}

/// Takes the images of a pack that has ended on by a step. `in_time`: whether an image of so many tokens is predicted
/// to be done by its deadline; asked of those that have one and would run again. Allocates nothing.
void judge_cascades(const SessionContext& context, const ScheduledPack& pack,
                    FunctionRef<bool(std::int32_t tokens, Clock::time_point deadline)> in_time);

}  // namespace navit_edge
