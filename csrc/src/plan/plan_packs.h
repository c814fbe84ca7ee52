// Parts of planning that the session uses too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "navit_edge/manifest.h"

namespace navit_edge {

/// "image 3 needs 5200 tokens; the largest budget is 4096; ...".
std::string over_budget_message(std::size_t image, std::int64_t tokens, std::span<const Budget> budgets);

}  // namespace navit_edge
