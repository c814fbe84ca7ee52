// Places in the queue: limits, and room that lower priorities cannot fill.
#include "session/places.h"

#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "support/check.h"

using namespace navit_edge;

namespace {

/// Takes places as long as there is room; how many that were.
int fill(Places& places, std::int32_t priority, std::uint64_t bytes = 0) {
  int count = 0;
  for (; places.room_for(priority, bytes); ++count) places.enter(priority, bytes);
  return count;
}

}  // namespace

TEST_CASE("images of one priority get as many places as there are, and each that leaves makes room for one") {
  for (const std::uint64_t limit : {1, 2, 3, 64}) {
    Places places(limit, 0);
    CHECK(fill(places, 7) == static_cast<int>(limit));
    CHECK(!places.room_for(7, 0));
    CHECK(!places.room_for(6, 0));
    CHECK(!places.room_for(std::numeric_limits<std::int32_t>::min(), 0));
    places.leave(7, 0);
    CHECK(places.room_for(6, 0));
    CHECK(fill(places, 7) == 1);
  }
}

TEST_CASE("each higher priority finds room that the lower ones could not fill, and twice the limit is the end") {
  Places places(64, 0);
  CHECK(fill(places, -1) == 64);
  CHECK(fill(places, 0) == 32);
  CHECK(fill(places, 5) == 16);
  CHECK(fill(places, 6) == 8);
  CHECK(fill(places, 0) == 0);
  for (std::int32_t priority = 7; priority < 1000; ++priority) fill(places, priority);
  CHECK(places.images() == 128);
}

TEST_CASE("a lower priority never gets what a higher one left of its own room") {
  Places places(64, 0);
  CHECK(fill(places, 5) == 64);
  CHECK(fill(places, 0) == 0);
  CHECK(fill(places, 9) == 32);
  for (int i = 0; i < 32; ++i) places.leave(9, 0);
  CHECK(fill(places, 0) == 0);
  CHECK(fill(places, 5) == 0);
  CHECK(fill(places, 9) == 32);
}

TEST_CASE("bytes are limited by the same rule, and one image of each priority is let in whatever its size") {
  Places places(1000, 100);
  CHECK(fill(places, 0, 30) == 3);
  CHECK(places.room_for(0, 10));
  CHECK(!places.room_for(0, 11));
  CHECK(fill(places, 1, 30) == 1);  // 110 are left of 200: 55
  CHECK(!places.room_for(1, 30));
  CHECK(places.room_for(2, 40));  // 80 are left
  CHECK(!places.room_for(2, 41));
  Places empty(1000, 100);
  CHECK(empty.room_for(0, std::numeric_limits<std::int64_t>::max()));
  empty.enter(0, 5000);
  CHECK(!empty.room_for(0, 1));
  CHECK(!empty.room_for(1, 1));  // those below are above the limit already
  empty.leave(0, 5000);
  CHECK(empty.bytes() == 0);
}

TEST_CASE(
    "whoever comes and goes, the counts are those of who is there, and limits as large as can be do not overflow") {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::mt19937 random(4);
  for (const std::uint64_t limit : {std::uint64_t{5}, std::uint64_t{40}, kMost}) {
    Places places(limit, limit);
    std::vector<std::pair<std::int32_t, std::uint64_t>> there;
    std::uint64_t bytes = 0;
    for (int step = 0; step < 5000; ++step) {
      const auto priority = static_cast<std::int32_t>(random() % 9) - 4;
      const std::uint64_t size = random() % 3;
      if (random() % 5 < 3) {
        if (!places.room_for(priority, size)) continue;
        places.enter(priority, size);
        there.emplace_back(priority, size);
        bytes += size;
      } else if (!there.empty()) {
        std::swap(there[random() % there.size()], there.back());
        places.leave(there.back().first, there.back().second);
        bytes -= there.back().second;
        there.pop_back();
      }
      REQUIRE(places.images() == there.size());
      REQUIRE(places.bytes() == bytes);
      REQUIRE((limit == kMost || there.size() <= 2 * limit));
    }
  }
}
