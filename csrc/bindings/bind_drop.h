// What a policy leaves out, as Python says it.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "navit_edge/policy.h"

namespace navit_edge::bindings {

/// `policy` without the patches that `what` names: "blank", "random", a bool array [rows, cols] of those that stay, or
/// a function (pixels, (rows, cols)) -> such an array. Throws InvalidInput, also for options that are not `what`'s.
Policy with_drop(const Policy& policy, const pybind11::object& what, std::optional<double> keep,
                 std::optional<std::uint64_t> seed, std::optional<std::int32_t> range);

}  // namespace navit_edge::bindings
