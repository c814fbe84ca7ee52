// What the numbers among a session's options may be: the one table, by which C++ and Python check and explain.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "navit_edge/cxx20.h"

namespace navit_edge {

/// From `least` to `most`, both in. If 0 has a meaning of its own, it is allowed beside them.
struct OptionRange {
  std::string_view name;  // of the field, with its unit: "batch_wait_us"
  std::string_view what;  // "a number of threads"
  double least;
  double most;
  bool whole;
  std::string_view zero;  // "for all cores the process may use"; empty: 0 is a number like any other
};

/// Of SessionOptions, SubmitOptions and StreamOptions.
NAVIT_EDGE_API std::span<const OptionRange> option_ranges() noexcept;

/// "a number of threads, 1 to 1024, or 0 for all cores the process may use".
NAVIT_EDGE_API std::string expected(const OptionRange& range);

/// Throws InvalidInput with found and expected, also for NaN and, if it must be whole, for what is not. `name` is
/// one of the table.
NAVIT_EDGE_API void check_option(std::string_view name, double value);

}  // namespace navit_edge
