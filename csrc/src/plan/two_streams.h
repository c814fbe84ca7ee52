// How the packs of a run are spread over engine streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace navit_edge {

/// One stream with all cores loses to two streams with half of them each, by about this much (measured on ViT-S:
/// 1.09 on mixed images to 1.4 on small ones), as long as both streams have work.
inline constexpr double kOneStreamCost = 1.1;

/// How many of the first packs run on two streams at once; the rest follow one by one with all cores. `tokens` [packs].
/// 0 or at least 2. The pack that starts next goes to the stream that is free first.
std::size_t packs_on_two_streams(std::span<const std::int32_t> tokens) noexcept;
/// The same from predicted times, in any unit.
std::size_t packs_on_two_streams(std::span<const double> times) noexcept;

}  // namespace navit_edge
