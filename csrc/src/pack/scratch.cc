#include "pack/scratch.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "navit_edge/plan.h"
#include "sizing/rules.h"

namespace navit_edge {
namespace {

/// The longest image of `budget` in patches, or what the sizing rule allows if that is less.
std::int64_t longest_patches(const Budget& budget, const SizingSpec& sizing) {
  std::int64_t most = std::max(1, longest_image({&budget, 1}));
  for (const std::int32_t cap : {token_limit(sizing.rule), sizing.cap_tokens}) {
    if (cap > 0) most = std::min<std::int64_t>(most, cap);
  }
  return most;
}

/// Sides in pixels of a grid of about `patches` that is `aspect` times as high as it is wide.
Size target_of(std::int64_t patches, double aspect, std::int32_t patch_px) {
  const auto side = [&](double ratio) {
    const double count = std::ceil(std::sqrt(static_cast<double>(patches) * ratio));
    return static_cast<std::int32_t>(std::min<double>(count, static_cast<double>(patches))) * patch_px;
  };
  return {side(aspect), side(1 / aspect)};
}

void reserve_worker(WorkerScratch& worker, std::int64_t patches, const PreprocessSpec& preprocess) {
  const Filter filter = preprocess.filter;
  std::int32_t widest = 0;
  // From wide to high; of the high ones just above 2 : 1 is the widest that goes down first (goes_down_first).
  for (const double aspect : {0.25, 1.0, 2.0, 4.0}) {
    const Size image{static_cast<std::int32_t>(kReservedSidePx * std::min(1.0, aspect)),
                     static_cast<std::int32_t>(kReservedSidePx * std::min(1.0, 1 / aspect)) - (aspect > 1 ? 1 : 0)};
    for (const std::int64_t fewer : {1, 4}) {  // images smaller than the longest are scaled down more
      const Size target = target_of(std::max<std::int64_t>(1, patches / fewer), aspect, preprocess.patch_px);
      worker.resizer.reserve(image, target, filter, preprocess.processor);
      widest = std::max(widest, target.width_px);
    }
  }
  const std::size_t row = static_cast<std::size_t>(widest) * kChannels;
  worker.three.reserve(row + kPixelSlack);
  const auto* native = std::get_if<Native>(&preprocess.sizing.rule);
  const bool pads = native != nullptr && native->fit != Fit::kResize;
  if (!pads && !std::holds_alternative<NavitResize>(preprocess.sizing.rule)) return;
  worker.pad_crop.blank.reserve(row);
  worker.pad_crop.mixed.reserve(row);
  if (!pads) return;
  for (auto* buffer : {&worker.pad_crop.scratch, &worker.pad_crop.three}) {
    buffer->reserve(static_cast<std::size_t>(kReservedSidePx) * kChannels + kPixelSlack);
  }
}

}  // namespace

void reserve_scratch(PackScratch& scratch, const Budget& budget, const PreprocessSpec& preprocess, int threads) {
  scratch.bands.reserve(most_bands(budget.images, threads));
  if (scratch.workers.size() < static_cast<std::size_t>(threads)) {
    scratch.workers.resize(static_cast<std::size_t>(threads));
  }
  const std::int64_t patches = longest_patches(budget, preprocess.sizing);
  for (WorkerScratch& worker : scratch.workers) reserve_worker(worker, patches, preprocess);
}

std::size_t scratch_bytes(const PackScratch& scratch) noexcept {
  std::size_t bytes = scratch.bands.capacity() * sizeof(Band) + scratch.workers.capacity() * sizeof(WorkerScratch) +
                      scratch.first_on_grids.capacity() * sizeof(std::size_t) +
                      scratch.places.capacity() * sizeof(std::int32_t) + scratch.blank.capacity();
  for (const WorkerScratch& worker : scratch.workers) {
    bytes += worker.resizer.bytes() + worker.three.capacity();
    for (const auto* buffer :
         {&worker.pad_crop.blank, &worker.pad_crop.mixed, &worker.pad_crop.scratch, &worker.pad_crop.three}) {
      bytes += buffer->capacity();
    }
  }
  return bytes;
}

}  // namespace navit_edge
