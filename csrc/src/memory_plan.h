// The sizes that memory.h states, for those who set the memory aside.
#pragma once

#include <cstddef>
#include <span>

#include "arena.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `budget` with the longest image that a session can put into it: as the engine takes it, and as the bundle's sizing
/// rule gives it.
Budget with_longest(const Budget& budget, const Manifest& manifest) noexcept;

/// Bytes of `spec` in the largest pack of `budget`: T its tokens, N its images, L its longest image.
std::size_t most_bytes(const TensorSpec& spec, const Budget& budget) noexcept;

/// Bytes of an arena that holds all of `specs`.
std::size_t arena_bytes(std::span<const TensorSpec> specs, const Budget& budget) noexcept;

}  // namespace navit_edge
