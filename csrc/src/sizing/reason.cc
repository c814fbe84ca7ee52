#include "navit_edge/reason.h"

#include "base/text.h"

namespace navit_edge {
namespace {

using Kind = Policy::Kind;

std::string ms(double us) { return rounded(us / 1e3, 1) + " ms"; }

std::string name_of(const Reason& reason) {
  switch (reason.policy.kind()) {
    case Kind::kTokenCap:
      return "token cap " + std::to_string(reason.policy.max_tokens());
    case Kind::kLatency:
      return "latency " + shortest(reason.policy.target_us() / 1e3) + " ms" + (reason.missed ? " cannot be met" : "");
    case Kind::kContent:
      return "content";
    default:
      return reason.policy.to_string();
  }
}

/// "accepted at 120 tokens (0.931)".
std::string cascade_of(const Reason& reason) {
  const std::string tokens = std::to_string(reason.tokens) + " tokens";
  if (reason.step == CascadeStep::kFirst) {
    return "cascade: " + std::to_string(reason.tokens) + " of " + std::to_string(reason.all_tokens) + " tokens first";
  }
  const bool margin = reason.policy.cascade_options().by == CascadeScore::kMargin;
  const std::string score = std::string(" (") + (margin ? "margin " : "") + rounded(reason.score, 3) + ")";
  if (reason.step == CascadeStep::kAccepted) return "accepted at " + tokens + score;
  if (reason.step == CascadeStep::kKept) return "kept at " + tokens + score + ": the deadline leaves no second pass";
  return "run again at " + tokens + score;
}

std::string choice_of(const Reason& reason) {
  if (reason.policy.kind() == Kind::kCascade) return cascade_of(reason);
  std::string text = name_of(reason) + ": ";
  text += reason.tokens == reason.all_tokens ? "all" : std::to_string(reason.tokens) + " of";
  text += ' ';
  text += std::to_string(reason.all_tokens) + " tokens";
  if (reason.policy.kind() == Kind::kContent) text += " (complexity " + rounded(reason.complexity, 3) + ")";
  if (reason.policy.kind() == Kind::kLatency && reason.predicted_us > 0) {
    text += " (predicted " + ms(reason.predicted_us);
    if (reason.images > 1) text += " for " + std::to_string(reason.images) + " images";
    if (reason.waiting_us > 0) text += " with " + ms(reason.waiting_us) + " waiting";
    if (!reason.measured) text += ", cost assumed";
    text += ")";
  }
  if (reason.missed_by_us > 0) text += "; missed by " + ms(reason.missed_by_us);
  return text;
}

std::string patches(Grid grid) { return std::to_string(grid.rows) + " x " + std::to_string(grid.cols) + " patches"; }

std::string fit_of(const Reason& reason) {
  return "needs " + std::to_string(reason.wanted.tokens() + reason.prefix_tokens) + " tokens (" +
         patches(reason.wanted) + "); the engine takes " + std::to_string(reason.most_tokens) + "; scaled down to " +
         patches(reason.fitted);
}

/// "drop random: 98 of 196 patches kept (keep 0.5)".
std::string drop_of(const Reason& reason) {
  std::string text = "drop ";
  std::string how;
  switch (reason.drop.kind) {
    case DropKind::kRandom:
      text += "random";
      how = " (keep " + shortest(reason.drop.keep) + ")";
      break;
    case DropKind::kBlank:
      text += "blank";
      break;
    default:
      text += "by mask";
  }
  return text + ": " + std::to_string(reason.kept_patches) + " of " + std::to_string(reason.of_patches) +
         " patches kept" + how;
}

}  // namespace

std::string Reason::to_string() const {
  std::string text = policy.kind() == Kind::kNative ? std::string{} : choice_of(*this);
  if (kept_patches != of_patches) text += (text.empty() ? "" : "; ") + drop_of(*this);
  if (wanted.rows != 0) text += (text.empty() ? "" : "; ") + fit_of(*this);
  return text;
}

}  // namespace navit_edge
