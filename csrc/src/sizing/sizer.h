// Which grid an image of a session gets: the bundle's rule, the caller's cap and policy, and what the engine can hold.
#pragma once

#include <cstddef>
#include <string>

#include "navit_edge/choice.h"
#include "navit_edge/manifest.h"
#include "navit_edge/session.h"
#include "navit_edge/unpack.h"

namespace navit_edge {

/// Thread-safe: nothing changes after construction.
class Sizer {
 public:
  /// Throws InvalidInput for options that the model does not allow.
  Sizer(const Manifest& manifest, const SessionOptions& options, const EngineSpec& engine);

  /// The bundle's preprocessing with the caller's cap on tokens, if there is one.
  [[nodiscard]] const PreprocessSpec& preprocess() const noexcept { return preprocess_; }

  /// The session's own policy.
  [[nodiscard]] const Policy& policy() const noexcept { return policy_; }

  /// Sets grid, tokens, kept patches and reason from `result.image`. `index` names the image in messages; `pixels` are
  /// the image's own, checked before. Allocates only to throw, and for what is dropped. Throws OverBudget, and
  /// InvalidInput for an image that the rule refuses and for a policy that the rule or the model does not allow.
  /// Returns Choice::expected_us; 0 if it was scaled down after that.
  double size(std::size_t index, Result& result, const Policy& policy, const Load& load, const ImageView* pixels) const;

  /// The same for the second pass of a cascade, of a result that `size` gave its first one. Throws nothing: `size` has
  /// thrown what this would.
  void size_again(std::size_t index, Result& result) const;

 private:
  void check(const Policy& policy) const;
  double size_pass(std::size_t index, Result& result, const Policy& policy, const Load& load,
                   const ImageView* pixels) const;

  EngineLimits engine_;
  ModelSpec model_;
  PreprocessSpec preprocess_;
  bool downscale_;
  std::string without_logits_;  // what the engine's graph gives; empty: logits, too
  Policy policy_;
};

}  // namespace navit_edge
