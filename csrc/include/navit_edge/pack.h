// Packing: pixels and a plan become graph inputs, in one pass, on many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/plan.h"
#include "navit_edge/sizing.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// A host tensor: its bytes (64-byte aligned) lie in memory that it owns and that grows without being given back, or in
/// memory that it is lent.
class NAVIT_EDGE_API HostTensor {
 public:
  HostTensor() = default;
  HostTensor(std::string name, DType dtype);
  ~HostTensor();
  HostTensor(HostTensor&&) noexcept;
  HostTensor& operator=(HostTensor&&) noexcept;
  HostTensor(const HostTensor&) = delete;
  HostTensor& operator=(const HostTensor&) = delete;

  /// Sets the shape; reallocates only where the bytes do not fit. Contents are unspecified afterwards.
  void resize(std::span<const std::int64_t> shape);

  /// Sets memory aside: a `resize` to no more bytes allocates nothing. Where it must allocate, the tensor is left
  /// without bytes.
  void reserve(std::size_t bytes);

  /// Lends the tensor memory, where it lies from the next `resize` on whenever its bytes fit there; else in memory of
  /// its own. Borrows `memory` until the tensor goes or is lent another; an empty span ends it. Leaves it without
  /// bytes.
  void lend(std::span<std::byte> memory) noexcept;
  [[nodiscard]] bool lent() const noexcept { return !lent_.empty(); }

  [[nodiscard]] const std::string& name() const& noexcept { return name_; }
  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] std::span<const std::int64_t> shape() const& noexcept { return shape_; }
  [[nodiscard]] std::size_t bytes() const noexcept;
  [[nodiscard]] std::byte* data() & noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const& noexcept { return data_; }

  template <class T>
  [[nodiscard]] T* as() & noexcept {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  [[nodiscard]] const T* as() const& noexcept {
    return reinterpret_cast<const T*>(data_);
  }

  // What is borrowed from a temporary would dangle.
  const std::string& name() const&& = delete;
  std::span<const std::int64_t> shape() const&& = delete;
  const std::byte* data() const&& = delete;
  template <class T>
  const T* as() const&& = delete;

 private:
  [[nodiscard]] bool lends(std::size_t bytes) const noexcept { return !lent_.empty() && bytes <= lent_.size(); }

  std::string name_;
  DType dtype_ = DType::kFloat32;
  std::vector<std::int64_t> shape_;
  std::byte* data_ = nullptr;  // in own_ or lent_
  std::byte* own_ = nullptr;
  std::size_t own_bytes_ = 0;
  std::span<std::byte> lent_;
};

/// One image of a pack: where it lies.
struct Segment {
  std::int32_t image = 0;        // index into the caller's images
  std::int32_t first_token = 0;  // row of its first token (a prefix token, where the model has any)
  Grid grid;
  Placement placement{};  // how the image's pixels come onto the grid
};

struct PackScratch;

/// The inputs of one pass, ready for the engine, and the segments needed to take results apart.
struct Pack {
  std::vector<HostTensor> inputs;  // in the order of GraphSpec::inputs
  std::vector<Segment> segments;   // [images of the pack], in pack order
  std::int32_t images = 0;         // N as the graph sees it (>= segments.size() where N is padded)
  std::int32_t tokens = 0;         // T as the graph sees it, padding included
  std::int32_t used_tokens = 0;
  std::int32_t longest = 0;  // L as the graph sees it
  /// What a PackWriter resizes with, kept for the next pack. Packs may share one where they are never written at once.
  std::shared_ptr<PackScratch> scratch;
};

/// What the packs of one engine have in common.
struct PackSpec {
  PreprocessSpec preprocess;
  ModelSpec model;
  GraphSpec graph;
  std::vector<Budget> budgets;  // PackPlan::budget is an index into them
  bool dynamic_tokens = false;  // false: T and N are padded to the budget; true: T and L are rounded up to `quantum`
  std::int32_t quantum = 1;
};

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
  /// `out` of its own. Throws InvalidInput.
  void write(const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids, int threads,
             Pack& out) const;

  /// The same for images that were checked before (a session does, at its door).
  void write_checked(const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids, int threads,
                     Pack& out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The image in RGB, as the model sees it before the resize: channels put in order, gray repeated, NV12 and I420
/// converted, over `background` with Alpha::kComposite. `out` is [height_px, width_px, 3] u8, rows adjacent. Throws
/// InvalidInput.
NAVIT_EDGE_API void convert_to_rgb(const ImageView& image, Alpha alpha, const Rgb& background, std::uint8_t* out);

/// Channels of what `resize_image` gives for `image`: 1 (gray), 4 (RGBA, from RGBA and BGRA), or 3 (RGB, from the
/// rest).
NAVIT_EDGE_API std::int32_t resized_channels(const ImageView& image) noexcept;

/// Resizes one image as Pillow's Image.resize does (8-bit fixed-point separable convolution, antialiased; four channels
/// are premultiplied with the last for it), bit for bit. `out` is [target.height_px, target.width_px,
/// resized_channels(image)] u8, rows adjacent. Throws InvalidInput.
NAVIT_EDGE_API void resize_image(const ImageView& image, Size target, Filter filter, std::uint8_t* out);

}  // namespace navit_edge
