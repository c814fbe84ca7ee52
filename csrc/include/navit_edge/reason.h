// Why an image got fewer tokens than its sizing rule gives: numbers, put into words when they are read.
#pragma once

#include <cstdint>
#include <string>

#include "navit_edge/cxx20.h"
#include "navit_edge/policy.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// How far a cascade is with an image.
enum class CascadeStep : std::uint8_t {
  kNone,      // no cascade, or one that has nothing to choose: the image is small
  kFirst,     // the first pass waits or runs
  kAccepted,  // its result stands
  kKept,      // it stands since the deadline leaves no time for the second pass
  kAgain,     // the second pass waits or runs
  kSecond,    // its result stands
};

/// Empty if the image got what the rule gives. Holds no memory of its own.
struct NAVIT_EDGE_API Reason {
  // What a policy chose.
  Policy policy;                // native: none did
  std::int64_t tokens = 0;      // patches it chose
  std::int64_t all_tokens = 0;  // patches that the rule gives
  bool missed = false;          // latency: also these tokens are predicted to take longer than the target
  bool measured = false;        // latency: the prediction rests on `bench --calibrate`
  std::int32_t images = 1;      // latency: given together, this one among them
  double predicted_us = 0;      // latency: from when the user began to wait to the result, `waiting_us` included
  double waiting_us = 0;        // latency: of what was given before
  double missed_by_us = 0;      // latency: it took so much longer than the target
  double complexity = 0;        // content
  CascadeStep step = CascadeStep::kNone;
  double score = 0;  // cascade, from kAccepted on: the first pass's

  // What was left out of the grid (drop.h).
  DropOptions drop;               // kNone: nothing was to be
  std::int64_t kept_patches = 0;  // of the grid; until the image has been read, those that may stay
  std::int64_t of_patches = 0;    // that the grid has

  // What did not fit the engine (SessionOptions::overflow); {0, 0} if all did.
  Grid wanted;
  Grid fitted;
  std::int32_t prefix_tokens = 0;
  std::int32_t most_tokens = 0;  // of one image in the engine, prefix tokens included

  [[nodiscard]] bool empty() const noexcept {
    return policy.kind() == Policy::Kind::kNative && wanted.rows == 0 && kept_patches == of_patches;
  }
  /// Whether it has fewer tokens than the rule gives; not so if only a latency target is missed.
  [[nodiscard]] bool fewer_tokens() const noexcept {
    return tokens < all_tokens || wanted.rows != 0 || kept_patches < of_patches;
  }
  /// "latency 20 ms: 256 of 784 tokens (predicted 18.2 ms with 3.1 ms waiting)", "drop random: 98 of 196 patches kept";
  /// "" if it is empty.
  [[nodiscard]] std::string to_string() const;
};

}  // namespace navit_edge
