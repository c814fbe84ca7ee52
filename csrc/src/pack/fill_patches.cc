#include "pack/fill_patches.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/index.h"
#include "base/thread_pool.h"
#include "pack/band_writer.h"
#include "pack/blank.h"
#include "pack/scratch.h"

namespace navit_edge {
namespace {

/// Splits large images, so that the threads end together. One thread takes every image whole.
void split_into_bands(const Pack& pack, std::span<const ImageView> images, std::int32_t patch_px, int threads,
                      std::vector<Band>& bands) {
  const auto cost = [&](const Segment& segment) {
    const ImageView& image = images[index(segment.image)];
    return std::int64_t{image.height_px} * image.width_px + segment.grid.tokens() * patch_px * patch_px;
  };
  std::int64_t total = 0;
  for (const Segment& segment : pack.segments) total += cost(segment);
  constexpr std::int64_t kLeastPixels = 1 << 16;  // below, a band costs more than it saves
  const std::int64_t share = std::max(kLeastPixels, total / (std::int64_t{4} * threads));
  bands.clear();
  for (std::size_t s = 0; s < pack.segments.size(); ++s) {
    const std::int32_t rows = pack.segments[s].grid.rows;
    const auto pieces =
        static_cast<std::int32_t>(threads > 1 ? std::clamp<std::int64_t>(cost(pack.segments[s]) / share, 1, rows) : 1);
    for (std::int32_t piece = 0; piece < pieces; ++piece) {
      bands.push_back({s, static_cast<std::int32_t>(std::int64_t{rows} * piece / pieces),
                       static_cast<std::int32_t>(std::int64_t{rows} * (piece + 1) / pieces)});
    }
  }
}

/// What is dropped of the pack, by what is on the grids of its images.
class Drops {
 public:
  Drops(const Pack& pack, std::span<const Dropping> drops, PackScratch& scratch) : drops_(drops), scratch_(&scratch) {
    if (drops_.empty()) return;
    std::size_t patches = 0;
    scratch.first_on_grids.clear();
    for (const Segment& segment : pack.segments) {
      scratch.first_on_grids.push_back(patches);
      patches += static_cast<std::size_t>(segment.grid.tokens());
    }
    scratch.places.resize(patches);
    scratch.blank.resize(patches);
    for (std::size_t s = 0; s < pack.segments.size(); ++s) {
      const Segment& segment = pack.segments[s];
      if (segment.kept == nullptr) continue;
      std::int32_t* const places = scratch.places.data() + scratch.first_on_grids[s];
      std::fill_n(places, segment.grid.tokens(), -1);
      std::int32_t place = 0;
      for (const std::int32_t patch : *segment.kept) places[patch] = place++;
    }
  }

  /// Whether blank patches of the segment are looked for.
  [[nodiscard]] bool looks(const Segment& segment) const {
    return !drops_.empty() && segment.kept == nullptr && drops_[index(segment.image)].blank_range >= 0;
  }
  [[nodiscard]] PatchTarget target(const Segment& segment, std::size_t s, std::uint8_t* first_patch) const {
    PatchTarget target{first_patch};
    if (drops_.empty()) return target;
    if (segment.kept != nullptr) target.places = scratch_->places.data() + scratch_->first_on_grids[s];
    if (!looks(segment)) return target;
    target.blank = scratch_->blank.data() + scratch_->first_on_grids[s];
    target.blank_range = drops_[index(segment.image)].blank_range;
    return target;
  }
  /// Once all pixels are there: whether patches of the segment go after all.
  [[nodiscard]] bool find_blank(Segment& segment, std::size_t s) const {
    if (!looks(segment)) return false;
    const auto count = static_cast<std::size_t>(segment.grid.tokens());
    const std::span<const std::uint8_t> blank(scratch_->blank.data() + scratch_->first_on_grids[s], count);
    KeptPatches kept = kept_beside_blank(blank, segment.grid);
    if (kept.size() == count) return false;
    segment.kept = std::make_shared<const KeptPatches>(std::move(kept));
    return true;
  }

 private:
  std::span<const Dropping> drops_;
  PackScratch* scratch_;
};

/// Where a segment lay before blank patches went.
struct Before {
  std::size_t first_token;
  bool has_gaps;  // the patches that go lie between the others
};

/// Moves the patches that stay towards the front of [T, F], over those that go.
void close_gaps(const Pack& pack, std::span<const Before> before, std::int32_t prefix_tokens, std::size_t patch_bytes,
                std::uint8_t* out) {
  for (std::size_t s = 0; s < pack.segments.size(); ++s) {
    const Segment& segment = pack.segments[s];
    const std::uint8_t* const from = out + (before[s].first_token + index(prefix_tokens)) * patch_bytes;
    std::uint8_t* to = out + index(segment.first_token) * patch_bytes;
    std::memset(to, 0, index(prefix_tokens) * patch_bytes);
    to += index(prefix_tokens) * patch_bytes;
    for (std::int64_t i = 0; i < segment.patches(); ++i, to += patch_bytes) {
      const auto row = static_cast<std::size_t>(i);
      std::memmove(to, from + (before[s].has_gaps ? index((*segment.kept)[row]) : row) * patch_bytes, patch_bytes);
    }
  }
}

}  // namespace

void fill_patches(Pack& pack, std::span<const ImageView> images, std::span<const Dropping> drops,
                  const PreprocessSpec& preprocess, const ModelSpec& model, int threads, HostTensor& tensor,
                  FunctionRef<void()> place_again) {
  const std::size_t patch_bytes =
      index(preprocess.patch_px) * index(preprocess.patch_px) * kChannels * index(preprocess.frames);
  const auto shape = [&] { return std::array{std::int64_t{pack.tokens}, static_cast<std::int64_t>(patch_bytes)}; };
  tensor.resize(shape());
  auto* out = tensor.as<std::uint8_t>();
  for (const Segment& segment : pack.segments) {
    std::memset(out + index(segment.first_token) * patch_bytes, 0, index(model.prefix_tokens) * patch_bytes);
  }
  PackScratch& scratch = *pack.scratch;
  if (scratch.workers.size() < static_cast<std::size_t>(std::max(1, threads))) {
    scratch.workers.resize(static_cast<std::size_t>(std::max(1, threads)));
  }
  const Drops dropped(pack, drops, scratch);
  const std::vector<Band>& bands = scratch.bands;
  split_into_bands(pack, images, preprocess.patch_px, threads, scratch.bands);
  parallel_for(bands.size(), threads, [&](std::size_t i, std::size_t worker) {
    const std::size_t s = bands[i].segment;
    const Segment& segment = pack.segments[s];
    write_band(bands[i], images[index(segment.image)], segment, preprocess,
               dropped.target(segment, s, out + index(segment.first_token + model.prefix_tokens) * patch_bytes),
               scratch.workers[worker]);
  });

  bool fewer = false;
  std::vector<Before> before;  // [segments]
  if (!drops.empty()) {
    for (std::size_t s = 0; s < pack.segments.size(); ++s) {
      Segment& segment = pack.segments[s];
      before.push_back({index(segment.first_token), dropped.find_blank(segment, s)});
      fewer = fewer || before.back().has_gaps;
    }
  }
  if (fewer) {
    place_again();
    close_gaps(pack, before, model.prefix_tokens, patch_bytes, out);
    const std::uint8_t* const filled = out;
    tensor.resize(shape());  // which may go back to the memory that it was lent, if fewer fit there
    out = tensor.as<std::uint8_t>();
    if (out != filled) std::memcpy(out, filled, index(pack.used_tokens) * patch_bytes);
  }
  std::memset(out + index(pack.used_tokens) * patch_bytes, 0, index(pack.tokens - pack.used_tokens) * patch_bytes);
}

}  // namespace navit_edge
