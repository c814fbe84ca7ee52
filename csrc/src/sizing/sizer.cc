#include "sizing/sizer.h"

#include <string>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/plan.h"
#include "navit_edge/sizing.h"
#include "plan/plan_packs.h"
#include "sizing/checked.h"

namespace navit_edge {
namespace {

PreprocessSpec with_cap(PreprocessSpec preprocess, std::int32_t max_tokens) {
  if (max_tokens != 0) preprocess.sizing = capped(preprocess.sizing, preprocess.patch_px, max_tokens);
  return preprocess;
}

/// True for kDownscale. Throws InvalidInput for kSplit.
bool downscales(Overflow overflow, const Manifest& manifest) {
  if (overflow == Overflow::kSplit) {
    throw InvalidInput("overflow \"split\" is not possible for the model " + manifest.name + " (" +
                       manifest.model.family +
                       ") because each token attends to every other token of its image: parts of an image run apart "
                       "would give other numbers; set overflow=\"downscale\", or build a larger token budget");
  }
  return overflow == Overflow::kDownscale;
}

/// "embedding, tokens"; empty if logits are among them.
std::string outputs_without_logits(const GraphSpec& graph) {
  std::string names;
  for (const TensorSpec& output : graph.outputs) {
    if (output.name == word_of(GraphOutput::kLogits)) return {};
    names += (names.empty() ? "" : ", ") + output.name;
  }
  return names.empty() ? "nothing" : names;
}

}  // namespace

Sizer::Sizer(const Manifest& manifest, const SessionOptions& options, const EngineSpec& engine)
    : engine_(EngineLimits::of(manifest, engine)),
      model_(manifest.model),
      preprocess_(with_cap(manifest.preprocess, options.max_tokens_per_image)),
      downscale_(downscales(options.overflow, manifest)),
      without_logits_(outputs_without_logits(manifest.graph(engine.graph))),
      policy_(options.policy) {
  check_policy(policy_, preprocess_);
  check(policy_);
}

/// What the sizing rule does not say.
void Sizer::check(const Policy& policy) const {
  check_drop(policy, preprocess_, model_);
  if (policy.kind() != Policy::Kind::kCascade || without_logits_.empty()) return;
  throw InvalidInput("policy " + policy.to_string() + ": the bundle gives " + without_logits_ +
                     " and no logits, by which a first result could be accepted; export it with --outputs logits, or "
                     "with classes of texts (docs/zero-shot.md), or take another policy");
}

double Sizer::size(std::size_t index, Result& result, const Policy& policy, const Load& load,
                   const ImageView* pixels) const {
  check(policy);
  if (policy.kind() != Policy::Kind::kCascade) return size_pass(index, result, policy, load, pixels);
  size_pass(index, result, policy.second_pass(), {}, nullptr);
  const Grid second = result.grid;
  const Reason only = result.reason;
  const double expected_us = size_pass(index, result, policy, {}, nullptr);
  if (result.grid == second) result.reason = only;  // there is nothing to run again
  return expected_us;
}

void Sizer::size_again(std::size_t index, Result& result) const {
  const Reason first = result.reason;
  const std::int32_t before = result.total_tokens;
  size_pass(index, result, first.policy.with_drop(first.drop).second_pass(), {}, nullptr);
  Reason& reason = result.reason;
  reason.policy = first.policy;
  reason.step = CascadeStep::kAgain;
  reason.score = first.score;
  reason.tokens = result.grid.tokens();
  reason.all_tokens = first.all_tokens;
  result.total_tokens += before;
}

double Sizer::size_pass(std::size_t index, Result& result, const Policy& policy, const Load& load,
                        const ImageView* pixels) const {
  const std::int32_t prefix = engine_.prefix_tokens;
  const std::int32_t most = longest_image(engine_.budgets);
  Choice choice = choose_checked(result.image, preprocess_, policy, engine_, load, pixels);
  drop_patches(policy, pixels, choice);
  if (choice.patches() + prefix > most) {
    const std::string message = over_budget_message(index, choice.patches() + prefix, engine_.budgets);
    if (!downscale_ || most - prefix < 1) throw OverBudget(message);
    const Grid wanted = choice.grid;
    try {
      choice.grid = resize_target(result.image, with_cap(preprocess_, most - prefix));
    } catch (const InvalidInput& e) {  // a rule that cannot be capped
      throw OverBudget(message + "; it cannot be scaled down: " + e.what());
    }
    if (choice.grid.tokens() + prefix > most) throw OverBudget(message);
    choice.kept = nullptr;
    drop_patches(policy, pixels, choice);
    choice.reason.wanted = wanted;
    choice.reason.fitted = choice.grid;
    choice.reason.prefix_tokens = prefix;
    choice.reason.most_tokens = most;
    choice.expected_us = 0;
  }
  result.grid = choice.grid;
  result.reason = choice.reason;
  result.tokens = result.total_tokens = static_cast<std::int32_t>(choice.patches()) + prefix;
  result.kept = std::move(choice.kept);
  return choice.expected_us;
}

}  // namespace navit_edge
