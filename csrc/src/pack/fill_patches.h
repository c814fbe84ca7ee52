// The patches of a pack: its largest input, and the only one that is made of pixels.
#pragma once

#include <span>

#include "base/function_ref.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/tensor.h"

namespace navit_edge {

/// Fills `tensor` [T, F] with the patches of `pack`, which is laid out. If blank patches go, it says so in the segments
/// and calls `place_again`, which lays them out anew: T and the first tokens become smaller. `drops`: [images] or none.
void fill_patches(Pack& pack, std::span<const ImageView> images, std::span<const Dropping> drops,
                  const PreprocessSpec& preprocess, const ModelSpec& model, int threads, HostTensor& tensor,
                  FunctionRef<void()> place_again);

}  // namespace navit_edge
