#include "navit_edge/option_range.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr double kDenormal = std::numeric_limits<double>::denorm_min();
constexpr double kWhole32 = 2147483647;
constexpr double kForEver = std::numeric_limits<double>::infinity();

// An upper end keeps a slip from being taken for a wish (milliseconds given as microseconds, a number of images as one
// of threads); if none harms, it is what the type holds.
constexpr std::array kRanges{
    OptionRange{"threads", "a number of threads", 1, 1024, true, "for all cores the process may use"},
    OptionRange{"slots", "a number of packs", 1, 64, true, "for as many as pay"},
    OptionRange{"max_tokens_per_image", "a number of patches", 1, kWhole32, true, "for what the bundle says"},
    OptionRange{"queue_limit", "a number of images", 1, kWhole32, true, ""},
    OptionRange{"queue_bytes", "a number of bytes", 1, 1e18, true, "for no limit"},
    OptionRange{"decoders", "a number of threads", 1, 256, true, "for as many as keep the engine busy"},
    OptionRange{"decode_bytes", "a number of bytes", 1, 1e18, true, "for no limit"},
    OptionRange{"cache_bytes", "a number of bytes", 1, 1e18, true, "for no cache"},
    OptionRange{"max_memory_bytes", "a number of bytes", 1, 1e18, true, "for no limit"},
    OptionRange{"aging_us", "microseconds", 0, 3.6e9, false, ""},
    OptionRange{"batch_wait_us", "microseconds", 0, 3.6e9, false, ""},
    OptionRange{"stall_timeout_s", "seconds", 0.001, 604800, false, "for never"},
    OptionRange{"deadline_us", "microseconds from the call", kDenormal, kForEver, false, "for none"},
    OptionRange{"spent_us", "microseconds before the call", 0, 3.6e9, false, ""},
    OptionRange{"timeout_us", "microseconds", 0, kForEver, false, ""},
    OptionRange{"priority", "a whole number, higher leaves first", -kWhole32 - 1, kWhole32, true, ""},
    OptionRange{"max_events", "a number of events", 1, 1e7, true, ""},
    OptionRange{"capacity", "a number of images", 1, kWhole32, true, "for as many as keep the engine busy"},
    OptionRange{"still_levels", "levels of 255", 0, 255, true, ""},
    OptionRange{"still_share", "a share of the pixels", 0, 0.999, false, ""},
    OptionRange{"still_every", "a number of frames", 1, kWhole32, true,
                "for a key frame where the picture changes only"},
};

std::string text_of(double value) {
  const bool short_enough = std::abs(value) < 1e15;
  return short_enough && value == std::floor(value) ? rounded(value, 0) : shortest(value);
}

}  // namespace

std::span<const OptionRange> option_ranges() noexcept { return kRanges; }

std::string expected(const OptionRange& range) {
  std::string text = std::string(range.what) + ", ";
  if (range.least == kDenormal) {
    text += "more than 0";
  } else if (range.most >= kForEver) {
    text += text_of(range.least) + " and up";
  } else {
    text += text_of(range.least) + " to " + text_of(range.most);
  }
  if (!range.zero.empty()) text += ", or 0 " + std::string(range.zero);
  return text;
}

void check_option(std::string_view name, double value) {
  const auto* const range = std::find_if(kRanges.begin(), kRanges.end(), [&](const auto& r) { return r.name == name; });
  if (range == kRanges.end()) throw InvalidInput("no option is named " + std::string(name));
  if (value == 0 && !range->zero.empty()) return;
  const bool inside = value >= range->least && value <= range->most;  // never of NaN
  if (inside && (!range->whole || value == std::floor(value))) return;
  throw InvalidInput(std::string(name) + " is " + text_of(value) + "; expected " + expected(*range));
}

}  // namespace navit_edge
