// The sizes that memory.h states, for those who set the memory aside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/arena.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `budget` with the largest L that a pack of it can have: the longest image that the engine takes, or that the sizing
/// rule gives, rounded up to `quantum` (shape_quantum.h) as packs are.
Budget with_longest(const Budget& budget, const PreprocessSpec& preprocess, const ModelSpec& model,
                    std::int32_t quantum) noexcept;

/// Bytes of `spec` in the largest pack of `budget`: T its tokens, N its images, L its longest image.
std::size_t most_bytes(const TensorSpec& spec, const Budget& budget) noexcept;

/// Bytes of an arena that holds all of `specs`.
std::size_t arena_bytes(std::span<const TensorSpec> specs, const Budget& budget) noexcept;

}  // namespace navit_edge
