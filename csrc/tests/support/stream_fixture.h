// What the tests of streams share: pixels that are counted, and what comes out of a stream.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "navit_edge/stream.h"
#include "support/session_fixture.h"

namespace navit_edge {

/// Pixels that count how many images still hold them.
struct Counted {
  std::vector<Picture> pictures;
  std::shared_ptr<std::atomic<int>> held = std::make_shared<std::atomic<int>>(0);

  [[nodiscard]] OwnedImage image(std::size_t i) const {
    ++*held;
    return {pictures[i].view, std::shared_ptr<const void>(&pictures[i], [count = held](const void*) { --*count; })};
  }
};

inline Counted counted(std::size_t count) {
  Counted all;
  all.pictures = some_pictures(count);
  return all;
}

inline std::vector<Result> all_of(Stream& stream) {
  std::vector<Result> results;
  while (std::optional<Result> result = stream.pop()) results.push_back(std::move(*result));
  return results;
}

inline std::vector<std::uint64_t> tags_of(const std::vector<Result>& results) {
  std::vector<std::uint64_t> tags;
  for (const Result& result : results) tags.push_back(result.tag);
  return tags;
}

inline StreamOptions with(std::size_t capacity, DropPolicy drop = DropPolicy::kBlock, bool ordered = true) {
  StreamOptions stream_options;
  stream_options.capacity = capacity;
  stream_options.drop = drop;
  stream_options.ordered = ordered;
  return stream_options;
}

using Tags = std::vector<std::uint64_t>;

}  // namespace navit_edge
