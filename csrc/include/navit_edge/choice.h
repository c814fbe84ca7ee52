// What a policy chooses for one image.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "navit_edge/complexity.h"  // IWYU pragma: export
#include "navit_edge/cost.h"
#include "navit_edge/image.h"
#include "navit_edge/learned_cost.h"
#include "navit_edge/manifest.h"
#include "navit_edge/policy.h"
#include "navit_edge/reason.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// What there is to do besides the image.
struct Load {
  double queued_us = 0;     // predicted time of what was given before and is not done
  std::int32_t images = 1;  // given together, this one among them: all shall be done by the target
  double spent_us = 0;      // since the user began to wait: decoding
  double prepare_us = 0;    // predicted, of resizing and moving the pixels of all of them
  LearnedCost engine{};     // of a pack in the engine, against the cost model's word
  LearnedCost whole{};      // of all that is predicted, against what it took before
};

/// What a choice must know of the engine.
struct NAVIT_EDGE_API EngineLimits {
  std::vector<Budget> budgets;  // ascending in tokens
  CostModel cost;
  std::int32_t prefix_tokens = 0;

  static EngineLimits of(const Manifest& manifest, const EngineSpec& engine);

  /// Predicted time of `images` images of `patches` patches each, in packs of the budget that is fastest; of one image
  /// the time of its pack. Never falls as either grows. Infinity if no budget holds one. `learned`: as Load::engine.
  [[nodiscard]] double predicted_us(std::int64_t patches, std::int32_t images,
                                    const LearnedCost& learned = {}) const noexcept;
};

struct Choice {
  Grid grid;
  Reason reason;
  double expected_us = 0;  // latency: as it was predicted, before Load::spent_us and Load::whole
  /// The patches that stay; null: all, or those that are not blank, which the image's pixels say (pack_writer.h).
  std::shared_ptr<const KeptPatches> kept;
  [[nodiscard]] std::int64_t patches() const noexcept {
    return kept != nullptr ? static_cast<std::int64_t>(kept->size()) : grid.tokens();
  }
};

/// The grid of an image under a policy. `pixels`: the image's own, read by a content policy only, which throws
/// InvalidInput if they are null. Throws what resize_target does, and InvalidInput for a policy that the sizing rule
/// does not allow (check_policy), or for an image that the rule cannot bring under a token cap, and for a mask of
/// another grid. Allocates nothing but the list of patches that stay, if some are dropped.
NAVIT_EDGE_API Choice choose_grid(Size image, const PreprocessSpec& preprocess, const Policy& policy,
                                  const EngineLimits& engine, const Load& load, const ImageView* pixels);

/// Throws InvalidInput for a policy that no image could follow: one that changes the number of tokens under the rule
/// "fixed", or a token cap below what "smart-resize" merges to one.
NAVIT_EDGE_API void check_policy(const Policy& policy, const PreprocessSpec& preprocess);

/// Throws InvalidInput for a policy that drops patches if the model is not one that may see a part of a grid: one that
/// merges blocks of patches, or takes frames in pairs.
NAVIT_EDGE_API void check_drop(const Policy& policy, const PreprocessSpec& preprocess, const ModelSpec& model);

}  // namespace navit_edge
