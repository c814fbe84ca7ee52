// Which device of several runs each pack of a run.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "navit_edge/plan.h"

namespace navit_edge {

/// When devices that work at their speed on `work_us` more, split as it likes, would all end. No spread of packs ends
/// earlier. Infinity if no device takes any.
[[nodiscard]] double fluid_end_us(double work_us, std::span<const PlanDevice> devices);

/// The device of each pack, an index into `devices`, so that the last pack ends as early as is found: longest first,
/// each to the device that ends it first (Graham 1969; on devices of different speeds Gonzalez, Ibarra and Sahni 1977);
/// then moves and swaps while they help; few packs by branch and bound. `times_us` [packs], predicted on a device of
/// slowness 1. `devices` has one that takes packs.
[[nodiscard]] std::vector<std::size_t> spread(std::span<const double> times_us, std::span<const PlanDevice> devices);

}  // namespace navit_edge
