// Which of several engines is the fastest, by what `navit-edge bench --calibrate` measured here, and exact enough.
#pragma once

#include <optional>
#include <string>

#include "navit_edge/manifest.h"

namespace navit_edge {

/// The times of two engines are compared if both were measured on the device that runs, with as many threads.
[[nodiscard]] bool comparable(const EngineSpec& a, const EngineSpec& b, const std::string& device);

/// Predicted time of `b` over that of `a`, for a pack of images of medium size that both hold: above 1 if `a` is
/// faster. Of comparable engines.
[[nodiscard]] double speed_over(const Manifest& manifest, const EngineSpec& a, const EngineSpec& b);
/// From here on an engine is clearly faster: calibrations err by some per cent.
inline constexpr double kClearlyFaster = 1.05;

/// What quantizing costs, as the bundle's reports/quantize-<precision>.json says of the graph: of the worst output, on
/// the images held out, or if there were none, on those that it was calibrated with.
struct RecordedAccuracy {
  double least_cosine = 1;  // of an image
  bool held_out = true;
};
/// None if the report is not there, cannot be read, or is of other graphs.
[[nodiscard]] std::optional<RecordedAccuracy> recorded_accuracy(const Manifest& manifest, const EngineSpec& engine);
/// A quantized engine is taken in place of another from this cosine on (docs/runtime.md).
inline constexpr double kLeastCosine = 0.99;

/// Whether `auto` may take an engine that is faster, and why in words that follow its speed: "" for a float engine.
struct Verdict {
  bool exact_enough = true;
  std::string words;
};
[[nodiscard]] Verdict verdict_of(const Manifest& manifest, const EngineSpec& engine);

}  // namespace navit_edge
