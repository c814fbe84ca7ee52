// Places in arrays from the signed numbers that tokens, patches and images are counted by.
#pragma once

#include <cstddef>
#include <cstdint>

namespace navit_edge {

/// `place` is not negative.
constexpr std::size_t index(std::int64_t place) { return static_cast<std::size_t>(place); }

}  // namespace navit_edge
