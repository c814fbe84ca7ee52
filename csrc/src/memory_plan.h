// The sizes that memory.h states, for those who set the memory aside.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "arena.h"
#include "navit_edge/error.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `budget` with the longest image that a session can put into it: as the engine takes it, and as the bundle's sizing
/// rule gives it.
Budget with_longest(const Budget& budget, const Manifest& manifest) noexcept;

/// What `most_bytes` says of tensors that are larger: no machine has it, and sums of it do not wrap.
inline constexpr std::size_t kMostTensorBytes = std::size_t{1} << 50;

/// Bytes of `spec` in the largest pack of `budget`: T its tokens, N its images, L its longest image.
std::size_t most_bytes(const TensorSpec& spec, const Budget& budget) noexcept;

/// Bytes of an arena that holds all of `specs`.
std::size_t arena_bytes(std::span<const TensorSpec> specs, const Budget& budget) noexcept;

/// What a session of `engines` and `slots` sets aside at the least: inputs, outputs, and what is counted by image.
double bytes_to_open(const Manifest& manifest, std::span<const EngineSpec> engines, int slots);

/// The error of an engine whose budgets are too large: `found` says what there is.
BackendError too_little_memory(const std::string& engine, const Budget& budget, double bytes, const std::string& found);

}  // namespace navit_edge
