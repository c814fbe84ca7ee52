// Which grid an image of a session gets: the bundle's rule, the caller's cap, and what the engine can hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "navit_edge/manifest.h"
#include "navit_edge/session.h"
#include "navit_edge/unpack.h"

namespace navit_edge {

/// Thread-safe: nothing changes after construction.
class Sizer {
 public:
  /// `budgets` ascending. Throws InvalidInput for options that the model does not allow.
  Sizer(const Manifest& manifest, const SessionOptions& options, std::vector<Budget> budgets);

  /// The bundle's preprocessing with the caller's cap on tokens, where there is one.
  [[nodiscard]] const PreprocessSpec& preprocess() const noexcept { return preprocess_; }

  /// Sets grid, tokens and, where it had to be scaled down to fit, the reason, from `result.image`. `index` names the
  /// image in messages. Throws OverBudget, and InvalidInput for an image that the rule refuses.
  void size(std::size_t index, Result& result) const;

 private:
  std::vector<Budget> budgets_;
  std::int32_t prefix_tokens_;
  PreprocessSpec preprocess_;
  bool downscale_;
};

}  // namespace navit_edge
