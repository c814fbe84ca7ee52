#include "navit_edge/choice.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <variant>

#include "navit_edge/error.h"
#include "navit_edge/plan.h"
#include "navit_edge/sizing.h"
#include "pixels/image_check.h"
#include "sizing/checked.h"
#include "sizing/latency.h"
#include "sizing/rules.h"

namespace navit_edge {
namespace {

using Kind = Policy::Kind;

std::string named(const Policy& policy) { return "policy " + policy.to_string() + ": "; }

/// Fewest patches that the policy scales an image down to.
std::int64_t least_tokens(const Policy& policy, const SizingRule& rule) {
  return std::max<std::int64_t>(policy.min_tokens(), least_patches(rule));
}

std::int64_t content_tokens(const Policy& policy, double complexity, std::int64_t least, std::int64_t all) {
  const std::int64_t most = policy.max_tokens() == 0 ? all : std::min<std::int64_t>(policy.max_tokens(), all);
  if (most <= least) return std::min(least, all);
  const double share = std::clamp((complexity - policy.flat()) / (policy.busy() - policy.flat()), 0.0, 1.0);
  return least + std::llround(share * static_cast<double>(most - least));
}

/// The cost model's time of a pack of images of `length` tokens that is as full as it may be.
double full_pack_us(const EngineLimits& engine, std::size_t b, std::int64_t length) noexcept {
  const Budget& budget = engine.budgets[b];
  const auto target = static_cast<double>(std::max<std::int64_t>(budget.target_tokens, length));
  const double tokens = engine.cost.dynamic_tokens ? target : static_cast<double>(budget.tokens);
  const bool whole = engine.cost.attention == AttentionCost::kWhole;
  return engine.cost.total_us(b, 1, tokens, whole ? tokens * tokens : target * static_cast<double>(length));
}

}  // namespace

EngineLimits EngineLimits::of(const Manifest& manifest, const EngineSpec& engine) {
  return {engine.budgets, cost_model(manifest, engine), manifest.model.prefix_tokens};
}

double EngineLimits::predicted_us(std::int64_t patches, std::int32_t images,
                                  const LearnedCost& learned) const noexcept {
  const std::int64_t length = patches + prefix_tokens;
  double fastest = std::numeric_limits<double>::infinity();
  for (std::size_t b = 0; b < budgets.size(); ++b) {
    const Budget& budget = budgets[b];
    if (length > longest_image({&budget, 1})) continue;
    const std::int64_t target = std::max<std::int64_t>(budget.target_tokens, length);  // of a pack
    const std::int64_t most = std::min<std::int64_t>(budget.images, target / length);
    const std::int64_t packs = (images + most - 1) / most;
    // Of all packs together. A last pack that is not full costs its share of what grows with the images, so that more
    // tokens never cost less.
    const auto all = static_cast<double>(std::int64_t{images} * length);
    const auto each = static_cast<double>(length);
    const auto times = static_cast<double>(packs);
    const double tokens = cost.dynamic_tokens ? all : times * static_cast<double>(budget.tokens);
    double scores = all * each;  // padded and segments alike: the images are equally long
    if (cost.attention == AttentionCost::kWhole) {
      scores = cost.dynamic_tokens ? all * std::min(all, static_cast<double>(target))
                                   : tokens * static_cast<double>(budget.tokens);
    }
    const double all_us = cost.total_us(b, times, tokens, scores);
    // What is learned is of a pack. Of several that of a full one, so that it grows with the images.
    const double pack_us = packs == 1 ? all_us : std::min(all_us, full_pack_us(*this, b, length));
    fastest = std::min(fastest, pack_us > 0 ? all_us * (learned.us(b, pack_us) / pack_us) : all_us);
  }
  return fastest;
}

void check_policy(const Policy& policy, const PreprocessSpec& preprocess) {
  const SizingRule& rule = preprocess.sizing.rule;
  if (policy.kind() == Kind::kNative || policy.kind() == Kind::kQuality) return;
  if (policy.kind() == Kind::kTokenCap) {
    const std::string fault = cap_fault(rule, preprocess.patch_px, policy.max_tokens());
    if (!fault.empty()) throw InvalidInput(named(policy) + fault);
    return;
  }
  if (const auto* fixed = std::get_if<Fixed>(&rule)) {
    throw InvalidInput(named(policy) + "the bundle's sizing rule fixed gives every image " +
                       std::to_string(fixed->height_px) + " x " + std::to_string(fixed->width_px) +
                       " pixels, so that there is nothing to choose; take the policy native, or export with another "
                       "sizing rule");
  }
  if (policy.kind() == Kind::kCascade) {
    const std::string fault = cap_fault(rule, preprocess.patch_px, policy.cascade_options().first);
    if (!fault.empty()) throw InvalidInput(named(policy) + fault);
  }
}

Choice choose_grid(Size image, const PreprocessSpec& preprocess, const Policy& policy, const EngineLimits& engine,
                   const Load& load, const ImageView* pixels) {
  if (pixels != nullptr && policy.kind() == Kind::kContent) check_image(*pixels, "the image", preprocess);
  Choice choice = choose_checked(image, preprocess, policy, engine, load, pixels);
  drop_patches(policy, pixels, choice);
  return choice;
}

Choice choose_checked(Size image, const PreprocessSpec& preprocess, const Policy& policy, const EngineLimits& engine,
                      const Load& load, const ImageView* pixels) {
  Choice choice{resize_target(image, preprocess), {}, 0, nullptr};
  if (policy.kind() == Kind::kNative || policy.kind() == Kind::kQuality) return choice;
  check_policy(policy, preprocess);
  const std::int64_t all = choice.grid.tokens();
  const std::int64_t least = std::min(all, least_tokens(policy, preprocess.sizing.rule));
  const double keep = policy.drop_options().kind == DropKind::kRandom ? policy.drop_options().keep : 1;
  Reason reason;
  std::int64_t cap = all;
  switch (policy.kind()) {
    case Kind::kTokenCap:
      cap = policy.max_tokens();
      break;
    case Kind::kCascade:  // the first pass
      cap = policy.cascade_options().first;
      break;
    case Kind::kFast:
      cap = std::max(least, (all + 3) / 4);
      break;
    case Kind::kBalanced:
      cap = std::max(least, (all + 1) / 2);
      break;
    case Kind::kLatency:
      cap = patches_in_time(policy.target_us(), least, all, keep, engine, load);
      break;
    case Kind::kContent:
      if (pixels == nullptr) {
        throw InvalidInput(named(policy) + "needs the image's pixels, and only its size was given; give the image");
      }
      reason.complexity = checked_complexity(*pixels, preprocess);
      cap = content_tokens(policy, reason.complexity, least, all);
      break;
    case Kind::kNative:
    case Kind::kQuality:
      break;
  }
  if (cap < all) {
    const auto most = static_cast<std::int32_t>(std::min<std::int64_t>(cap, std::numeric_limits<std::int32_t>::max()));
    const Grid grid = grid_under_cap(image, preprocess, most);
    const bool strict = policy.kind() == Kind::kTokenCap || policy.kind() == Kind::kCascade;
    if (strict && grid.tokens() > cap) {  // a long image under smart-resize
      throw InvalidInput(
          named(policy) + "an image of " + std::to_string(image.height_px) + " x " + std::to_string(image.width_px) +
          " pixels (height x width) needs " + std::to_string(grid.tokens()) + " patches under the sizing rule " +
          std::string(word_of(preprocess.sizing.rule)) + "; raise the cap, or crop the image to a smaller aspect");
    }
    if (grid.tokens() < all) choice.grid = grid;
  }
  reason.tokens = choice.grid.tokens();
  if (policy.kind() == Kind::kLatency) {
    const std::int64_t patches = kept_count(reason.tokens, keep);
    choice.expected_us = expected_us(patches, engine, load);
    reason.predicted_us = time_to_result_us(patches, engine, load);
    reason.waiting_us = load.queued_us;
    reason.images = load.images;
    reason.measured = engine.cost.measured || load.engine.known;
    reason.missed = reason.predicted_us > policy.target_us();
  }
  if (reason.tokens < all || reason.missed) {
    reason.policy = policy.without_drop();
    if (policy.kind() == Kind::kCascade) reason.step = CascadeStep::kFirst;
    reason.all_tokens = all;
    choice.reason = reason;
  }
  return choice;
}

}  // namespace navit_edge
