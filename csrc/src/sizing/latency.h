// How many tokens a latency target leaves.
#pragma once

#include <cstdint>

#include "navit_edge/choice.h"

namespace navit_edge {

/// From now to the result of an image of `patches` patches, as it is predicted.
double expected_us(std::int64_t patches, const EngineLimits& engine, const Load& load) noexcept;

/// From when the user began to wait to the result, as predictions have turned out.
double time_to_result_us(std::int64_t patches, const EngineLimits& engine, const Load& load) noexcept;

/// The largest grid in [least, all] patches whose result is predicted to be there in time if the share `keep` of them
/// runs: one more would be late. `least` if that is late already.
std::int64_t patches_in_time(double target_us, std::int64_t least, std::int64_t all, double keep,
                             const EngineLimits& engine, const Load& load) noexcept;

}  // namespace navit_edge
