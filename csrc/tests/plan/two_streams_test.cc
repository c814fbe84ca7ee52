#include "plan/two_streams.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "support/check.h"

using navit_edge::packs_on_two_streams;

namespace {

/// Time of a schedule, in tokens per core.
double time_of(const std::vector<std::int32_t>& tokens, std::size_t paired) {
  double busy[2] = {0, 0};
  for (std::size_t i = 0; i < paired; ++i) (busy[0] <= busy[1] ? busy[0] : busy[1]) += 2.0 * tokens[i];
  const auto rest = tokens.begin() + static_cast<std::ptrdiff_t>(paired);
  return std::max(busy[0], busy[1]) + navit_edge::kOneStreamCost * std::accumulate(rest, tokens.end(), 0.0);
}

}  // namespace

TEST_CASE("one pack has one stream, equal pairs have two") {
  CHECK(packs_on_two_streams(std::vector<std::int32_t>{}) == 0);
  CHECK(packs_on_two_streams(std::vector<std::int32_t>{500}) == 0);
  CHECK(packs_on_two_streams(std::vector<std::int32_t>{500, 500}) == 2);
  CHECK(packs_on_two_streams(std::vector<std::int32_t>{500, 500, 500, 500}) == 4);
}

TEST_CASE("a pack without a partner of its size gets all cores") {
  CHECK(packs_on_two_streams(std::vector<std::int32_t>{2000, 100}) == 0);
  CHECK(packs_on_two_streams(std::vector<std::int32_t>{500, 500, 500}) == 2);
}

TEST_CASE("no other number of paired packs is faster") {
  std::mt19937 random(6);
  for (int i = 0; i < 500; ++i) {
    std::vector<std::int32_t> tokens(random() % 12);
    for (auto& one : tokens) one = 1 + static_cast<std::int32_t>(random() % 2048);
    const std::size_t paired = packs_on_two_streams(tokens);
    CHECK(paired != 1);
    CHECK(paired <= tokens.size());
    const double time = time_of(tokens, paired);
    for (std::size_t other = 0; other <= tokens.size(); ++other) {
      if (other != 1) CHECK(time <= time_of(tokens, other) * (1 + 1e-9));
    }
  }
}
