// The sizes that memory.h states, for those who set the memory aside, and whether it can be there at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/arena.h"
#include "navit_edge/error.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `budget` with the largest L that a pack of it can have: the longest image that the engine takes, or that the sizing
/// rule gives, rounded up to `quantum` (shape_quantum.h) as packs are.
Budget with_longest(const Budget& budget, const PreprocessSpec& preprocess, const ModelSpec& model,
                    std::int32_t quantum) noexcept;

/// The extent of `dim` in a pack of T `tokens`, N `images` and L `longest`.
std::int64_t extent_of(const Dim& dim, std::int32_t tokens, std::int32_t images, std::int32_t longest) noexcept;

/// Bytes of `spec` in the largest pack of `budget`: T its tokens, N its images, L its longest image.
std::size_t most_bytes(const TensorSpec& spec, const Budget& budget) noexcept;

/// Bytes of an arena that holds all of `specs`.
std::size_t arena_bytes(std::span<const TensorSpec> specs, const Budget& budget) noexcept;

/// Bytes that a session of `engines` and `slots` sets aside at the least: inputs, outputs, and what is counted by
/// image.
double bytes_to_open(const Manifest& manifest, std::span<const EngineSpec> engines, int slots);

/// The error of an engine whose budgets are too large: `found` says what there is.
BackendError too_little_memory(const std::string& engine, const Budget& budget, double bytes, const std::string& found);

}  // namespace navit_edge
