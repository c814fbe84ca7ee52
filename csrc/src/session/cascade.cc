#include "session/cascade.h"

#include <cmath>
#include <limits>

namespace navit_edge {

double cascade_score(std::span<const float> logits, Scores scores, CascadeScore by) noexcept {
  double best = -std::numeric_limits<double>::infinity();
  double next = best;
  for (const float logit : logits) {
    const double value = logit;
    if (value > best) {
      next = best;
      best = value;
    } else if (value > next) {
      next = value;
    }
  }
  double sum = 0;  // of e^(logit - best)
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - best);
  const auto probability = [&](double logit) {
    return scores == Scores::kSigmoid ? 1 / (1 + std::exp(-logit)) : std::exp(logit - best) / sum;
  };
  return probability(best) - (by == CascadeScore::kMargin ? probability(next) : 0);
}

void judge_cascades(const SessionContext& context, const ScheduledPack& pack,
                    FunctionRef<bool(std::int32_t tokens, Clock::time_point deadline)> in_time) {
  for (const std::int32_t index : pack.plan->images) {
    const auto i = static_cast<std::size_t>(index);
    Result& result = pack.results[i];
    if (result.error != nullptr) continue;
    Reason& reason = result.reason;
    if (reason.step == CascadeStep::kAgain) reason.step = CascadeStep::kSecond;
    if (reason.step != CascadeStep::kFirst) continue;
    const CascadeOptions& options = reason.policy.cascade_options();
    reason.score = cascade_score(result.logits.values(), context.manifest.scores, options.by);
    if (reason.score >= options.accept) {
      reason.step = CascadeStep::kAccepted;
      continue;
    }
    const Reason first = reason;
    const Grid grid = result.grid;
    const std::int32_t tokens = result.tokens;
    const std::shared_ptr<const KeptPatches> kept = result.kept;
    context.sizer.size_again(i, result);
    const Clock::time_point deadline = pack.image(i).deadline;
    if (deadline != Clock::time_point::max() && !in_time(result.tokens, deadline)) {
      result.grid = grid;
      result.tokens = result.total_tokens = tokens;
      result.kept = kept;
      reason = first;
      reason.step = CascadeStep::kKept;
      continue;
    }
    result.drop_outputs();
    if (pack.job != nullptr) pack.job->grids[i] = result.grid;
  }
}

}  // namespace navit_edge
