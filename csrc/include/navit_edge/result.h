// The result of one image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "navit_edge/cxx20.h"
#include "navit_edge/drop.h"
#include "navit_edge/placement.h"
#include "navit_edge/reason.h"
#include "navit_edge/tensor.h"
#include "navit_edge/types.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// A float32 view that keeps alive what it looks into: the outputs of its pack, or a copy of its own.
struct NAVIT_EDGE_API OutputView {
  std::shared_ptr<const void> owner;  // null if the bundle does not offer this output
  const float* data = nullptr;
  std::int64_t rows = 0;  // 1 for logits and embedding
  std::int64_t cols = 0;
  std::int64_t layers = 1;  // of deepstack: vectors of a row
  [[nodiscard]] bool empty() const noexcept { return data == nullptr; }
  [[nodiscard]] std::int64_t count() const noexcept { return rows * layers * cols; }
  /// [rows * layers * cols], row-major. Borrowed: lives as long as this view or a copy of it. A temporary's would
  /// dangle.
  [[nodiscard]] std::span<const float> values() const& noexcept { return {data, static_cast<std::size_t>(count())}; }
  std::span<const float> values() const&& = delete;
  /// The same values in memory of their own. Throws std::bad_alloc.
  [[nodiscard]] OutputView copied() const;
};

/// How a map over the grid is brought onto an image.
struct MapOptions {
  Filter filter = Filter::kBilinear;  // between the centres of cells; or kNearest: each pixel has its cell's value
  float fill = std::numeric_limits<float>::quiet_NaN();  // where there is no data
  Size size;                                             // of the picture; empty: that of the image
};

/// The result of one image. Its outputs are views of what its pack gave, and keep all of that: the rows of the other
/// images, too. For what you keep long call `own_outputs`.
struct NAVIT_EDGE_API Result {
  Size image;                     // as given
  Grid grid;                      // as run: grid * P pixels
  Placement placement;            // where the image lies on them
  std::int32_t tokens = 0;        // prefix tokens included; what was dropped is not
  std::int32_t total_tokens = 0;  // of all passes: more than `tokens` if a cascade ran it twice
  std::int32_t pack = -1;         // which pass: of its run, or of all packs of submitted images
  std::int32_t first_token = 0;   // where it begins in its pack: the row of its first token, of a prefix or a patch
  std::int32_t pack_tokens = 0;   // T of its pack, padding included; 0: it was in none
  std::size_t pack_bytes = 0;     // of all outputs of its pack: what a view of one keeps; 0: it was in none
  std::uint64_t id = 0;           // what submit returned; 0 in a run
  std::uint64_t tag = 0;          // SubmitOptions::tag
  double queue_us = 0;            // from submit, or from the start of the run, to the start of its pack's preprocessing
  double latency_us = 0;          // from the start of its pack's preprocessing to its pack's outputs; the last pass's
  OutputView logits;              // [1, classes]
  OutputView embedding;           // [1, D]
  OutputView token_features;      // [patches / merge^2, D], row-major over the grid; no prefix tokens
  OutputView projected;           // [patches / merge^2, D]: as a language model takes them
  OutputView deepstack;           // [patches / merge^2, layers, D]: of middle blocks, for its first layers
  OutputView attention_map;       // [patches, maps]: how much the embedding's attention looks at each patch
  Reason reason;                  // why it has fewer tokens than its sizing rule gives; empty if it has them all
  bool cached = false;            // computed for another image of the same content: it was in no pack (docs/cache.md)
  std::exception_ptr error;       // set instead of the outputs if this image failed
  /// The patches that the model saw, where some were dropped: row i of `token_features` is of patch (*kept)[i]. Null:
  /// all of the grid.
  std::shared_ptr<const KeptPatches> kept;

  /// How many patches the model saw.
  [[nodiscard]] std::int64_t patches() const noexcept {
    return kept != nullptr ? static_cast<std::int64_t>(kept->size()) : grid.tokens();
  }
  /// `values` [patches(), cols], as token_features, spread over the grid: [rows * cols, cols], `fill` where a patch was
  /// dropped. Throws InvalidInput if there are not as many rows.
  [[nodiscard]] std::vector<float> on_grid(std::span<const float> values, std::int64_t cols, float fill = 0) const;
  /// `values` [n, cols], a row for each patch that the model saw (or, of a model that merges m x m patches, for each
  /// such cell), as pixels of the image: [height_px * width_px, cols], upright. What the sizing rule did is undone:
  /// scale, offset, cropping, padding. There is no data where the image was cropped and where a patch was dropped.
  /// Throws InvalidInput if the rows are not those, the image was in no pack, or the options are out of range;
  /// std::bad_alloc.
  [[nodiscard]] std::vector<float> on_image(std::span<const float> values, std::int64_t cols,
                                            const MapOptions& options = {}) const;

  [[nodiscard]] OutputView& output(GraphOutput kind) noexcept;
  [[nodiscard]] const OutputView& output(GraphOutput kind) const noexcept;
  /// Lets go of all of them.
  void drop_outputs() noexcept;

  /// Copies logits and embedding out of the pack, into one piece of memory of their own. Throws std::bad_alloc, and
  /// then they are as they were.
  void own_rows();
  /// The same, and of the other outputs if they are less than half of what they keep of their pack. So a result holds
  /// less than three times the bytes of its outputs, and one that has its pack for itself copies nothing large.
  void own_outputs();
};

}  // namespace navit_edge
