// What is remembered, for how long, and how much memory it takes.
#include "cache/result_cache.h"

#include <algorithm>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "cache/tree_hash.h"
#include "support/check.h"
#include "support/counting_allocator.h"

using namespace navit_edge;

namespace {

ResultKey key_of(std::int64_t number) { return FieldHash("test").number(number).finish(); }

/// A result whose every value is `value`: logits, and rows of tokens.
Result result_of(float value, std::int64_t rows = 1) {
  Result result;
  const auto memory = std::make_shared<std::vector<float>>(static_cast<std::size_t>(3 + 5 * rows), value);
  result.logits = {memory, memory->data(), 1, 3};
  result.token_features = {memory, memory->data() + 3, rows, 5};
  result.grid = {1, static_cast<std::int32_t>(rows)};
  return result;
}

bool all_are(const OutputView& view, float value) {
  const std::span<const float> values = view.values();
  return !values.empty() && std::ranges::all_of(values, [&](float one) { return one == value; });
}

std::uint64_t bytes_of_one(std::int64_t rows) {
  ResultCache cache(1 << 30);
  cache.remember(key_of(0), result_of(0, rows), "");
  return static_cast<std::uint64_t>(cache.metrics().bytes);
}

}  // namespace

TEST_CASE("random results are kept as a list does it that drops the least recently used above the limit") {
  std::mt19937 random(8);
  const std::uint64_t most = 40 * bytes_of_one(2);
  ResultCache cache(most);
  std::list<std::pair<std::int64_t, std::int64_t>> kept;  // (number, rows), the newest first
  const auto used = [&] {
    std::uint64_t bytes = 0;
    for (const auto& [number, rows] : kept) bytes += bytes_of_one(rows);
    return bytes;
  };
  std::uint64_t hits = 0;
  std::uint64_t evictions = 0;
  for (int step = 0; step < 3000; ++step) {
    const auto number = static_cast<std::int64_t>(random() % 90);
    const std::int64_t rows = 1 + number % 60;
    const auto found = std::ranges::find(kept, number, &std::pair<std::int64_t, std::int64_t>::first);
    Result result;
    const bool hit = cache.recall(key_of(number), result);
    CHECK(hit == (found != kept.end()));
    if (hit) {
      ++hits;
      kept.splice(kept.begin(), kept, found);
      CHECK(result.cached);
      CHECK(all_are(result.logits, static_cast<float>(number)));
      CHECK(all_are(result.token_features, static_cast<float>(number)));
      CHECK(result.token_features.rows == rows);
    } else {
      cache.remember(key_of(number), result_of(static_cast<float>(number), rows), "");
      kept.emplace_front(number, rows);
      for (; used() > most; kept.pop_back()) ++evictions;
    }
    const CacheMetrics metrics = cache.metrics();
    CHECK(metrics.entries == static_cast<std::int64_t>(kept.size()));
    CHECK(metrics.bytes == static_cast<std::int64_t>(used()));
    CHECK(metrics.bytes <= metrics.most_bytes);
    CHECK(metrics.hits == hits);
    CHECK(metrics.evictions == evictions);
  }
}

TEST_CASE("the bytes that it counts are those that it takes") {
  if (!counting::counts_bytes()) return;
  for (const std::int64_t rows : {1, 200}) {
    auto cache = std::make_unique<ResultCache>(1 << 30);
    const Result result = result_of(1, rows);
    const std::int64_t before = counting::live_bytes();
    for (int i = 0; i < 2000; ++i) cache->remember(key_of(i), result, i % 2 == 0 ? std::string(100, 'n') : "");
    const std::int64_t taken = counting::live_bytes() - before;
    const std::int64_t counted = cache->metrics().bytes;
    CHECK(taken <= counted);
    CHECK(static_cast<double>(taken) > 0.85 * static_cast<double>(counted));
    cache.reset();
    CHECK(counting::live_bytes() - before < 4096);
  }
}

TEST_CASE("a result outlives its eviction and the cache, and what it was computed in is not kept") {
  auto cache = std::make_unique<ResultCache>(bytes_of_one(7));
  Result computed = result_of(5, 7);
  const std::weak_ptr<const void> pack = computed.logits.owner;
  cache->remember(key_of(1), computed, "");
  computed.drop_outputs();
  CHECK(pack.expired());
  Result held;
  REQUIRE(cache->recall(key_of(1), held));
  cache->remember(key_of(2), result_of(6, 7), "");
  Result gone;
  CHECK(!cache->recall(key_of(1), gone));
  CHECK(cache->metrics().evictions == 1);
  cache.reset();
  CHECK(all_are(held.logits, 5));
  CHECK(all_are(held.token_features, 5));
}

TEST_CASE("of two results of one key the first stays; what is larger than the cache is not remembered") {
  ResultCache cache(bytes_of_one(10));
  cache.remember(key_of(1), result_of(1, 2), "first");
  cache.remember(key_of(1), result_of(2, 2), "second");
  Result result;
  std::string note;
  REQUIRE(cache.recall(key_of(1), result, &note));
  CHECK(note == "first");
  CHECK(all_are(result.logits, 1));
  CHECK((result.grid == Grid{1, 2}));
  cache.remember(key_of(2), result_of(3, 11), "");
  CHECK(!cache.recall(key_of(2), result));
  CHECK(cache.recall(key_of(1), result));
  CHECK(cache.metrics().evictions == 0);
}

TEST_CASE("what is an image's own stays so when it is recalled with its pixels at hand") {
  ResultCache cache(1 << 20);
  Result computed = result_of(1, 2);
  computed.id = 3;
  computed.tag = 4;
  computed.pack = 5;
  cache.remember(key_of(1), computed, "");
  Result own;
  own.id = 13;
  own.tag = 14;
  own.grid = {2, 1};
  own.tokens = 2;
  REQUIRE(cache.recall(key_of(1), own));
  CHECK((own.id == 13 && own.tag == 14 && own.pack == -1 && own.tokens == 2));
  CHECK((own.grid == Grid{2, 1}));
}

TEST_CASE("eight threads never get the values of another key") {
  ResultCache cache(20 * bytes_of_one(4));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&cache, t] {
      std::mt19937 random(t);
      for (int step = 0; step < 1500; ++step) {
        const auto number = static_cast<std::int64_t>(random() % 40);
        Result result;
        if (cache.recall(key_of(number), result)) {
          CHECK(all_are(result.token_features, static_cast<float>(number)));
        } else {
          cache.remember(key_of(number), result_of(static_cast<float>(number), 1 + number % 8), "");
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(cache.metrics().bytes <= cache.metrics().most_bytes);
}
