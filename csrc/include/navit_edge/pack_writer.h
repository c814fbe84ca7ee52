// Packing: pixels and a plan become graph inputs, in one pass, on many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/pack.h"
#include "navit_edge/plan.h"

namespace navit_edge {

/// What the packs of one engine have in common.
struct PackSpec {
  PreprocessSpec preprocess;
  ModelSpec model;
  GraphSpec graph;
  std::vector<Budget> budgets;  // PackPlan::budget is an index into them
  bool dynamic_tokens = false;  // false: T and N are padded to the budget; true: T and L are rounded up to `quantum`
  std::int32_t quantum = 1;
};

/// What is left out of an image of a pack.
struct Dropping {
  std::shared_ptr<const KeptPatches> kept;  // the patches that stay; null: all, or by `blank_range`
  std::int32_t blank_range = -1;            // DropOptions::range of kBlank; below 0: none is looked for
};

/// The patches of `image` on `grid` that are not blank, as DropKind::kBlank has it; null: all stay. Resizes the image.
/// Throws InvalidInput.
NAVIT_EDGE_API std::shared_ptr<const KeptPatches> patches_that_are_not_blank(const ImageView& image, Grid grid,
                                                                             const PreprocessSpec& preprocess,
                                                                             std::int32_t range);

/// Writes packs: made once for a graph, writes as many as you like. Resizes, patchifies, fills the graph's inputs.
class NAVIT_EDGE_API PackWriter {
 public:
  /// Throws BundleError if an input of the graph is not the contract's.
  explicit PackWriter(PackSpec spec);
  ~PackWriter();
  PackWriter(PackWriter&&) noexcept;
  PackWriter& operator=(PackWriter&&) noexcept;

  [[nodiscard]] const PackSpec& spec() const& noexcept;
  const PackSpec& spec() const&& = delete;

  /// Writes one pack into `out`, whose buffers are used again from call to call. `grids` are the resize targets of all
  /// `images`. `threads` workers, 1 = the caller's own thread. May be called from several threads at once, each with an
  /// `out` of its own. `drops`: of each image what is left out; empty: nothing. Where blank patches are, the pack has
  /// fewer tokens than the plan (`Segment::kept` says which stay). Throws InvalidInput.
  void write(const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids, int threads,
             Pack& out, std::span<const Dropping> drops = {}) const;

  /// The same for images that were checked before (a session does, at its door).
  void write_checked(const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids, int threads,
                     Pack& out, std::span<const Dropping> drops = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace navit_edge
