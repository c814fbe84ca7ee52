// What an image is known by in a cache: its pixels as the model sees them.
#pragma once

#include "navit_edge/content.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// The hash of what preprocessing reads of an image that has been checked: RGB or gray rows behind the conversion of
/// formats and of alpha, without what lies between rows, so that a view and its contiguous copy give the same; of NV12
/// and I420 the planes as they lie, with matrix and range. Large images are hashed by up to `threads` threads.
ContentDigest pixel_digest(const ImageView& image, const PreprocessSpec& preprocess, int threads);

}  // namespace navit_edge
