#include "pack/output_pool.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "navit_edge/unpack.h"
#include "support/check.h"
#include "support/counting_allocator.h"

using namespace navit_edge;

namespace {

constexpr Budget kBudget{64, 4, 64, 0};

GraphSpec graph() {
  GraphSpec graph;
  graph.outputs = {{"embedding", DType::kFloat32, {{'N', 0}, {'\0', 8}}},
                   {"tokens", DType::kFloat32, {{'T', 0}, {'\0', 8}}}};
  return graph;
}

/// A pack of one image of `tokens` patches in a row.
Pack pack_of(std::int32_t tokens) {
  Pack pack;
  pack.segments = {{0, 0, {1, tokens}}};
  pack.images = 1;
  pack.tokens = pack.used_tokens = pack.longest = tokens;
  return pack;
}

/// Runs `pack` on an engine that gives `value` everywhere.
void run(OutputPool& pool, const Pack& pack, float value, std::vector<Result>& results) {
  const OutputLease outputs = pool.take(pack);
  for (HostTensor& tensor : outputs.tensors()) std::fill_n(tensor.as<float>(), tensor.bytes() / sizeof(float), value);
  unpack(pack, outputs.shared(), {}, results);
}

bool all_are(const OutputView& view, float value) {
  return std::all_of(view.data, view.data + view.rows * view.cols, [&](float one) { return one == value; });
}

}  // namespace

TEST_CASE("outputs have the shapes of the pack and lie in memory of their own") {
  OutputPool pool(graph(), kBudget, 2);
  const OutputLease one = pool.take(pack_of(5));
  const OutputLease other = pool.take(pack_of(64));
  REQUIRE(one.tensors().size() == 2);
  CHECK(one.tensors()[0].name() == "embedding");
  CHECK(one.tensors()[0].shape()[0] == 1);
  CHECK(one.tensors()[1].shape()[0] == 5);
  CHECK(other.tensors()[1].shape()[0] == 64);
  CHECK(one.shared()[1]->data() == one.tensors()[1].data());
  CHECK(one.tensors()[1].data() != other.tensors()[1].data());
  CHECK(reinterpret_cast<std::uintptr_t>(other.tensors()[1].data()) % 64 == 0);
}

TEST_CASE("memory comes back when the last view of any result goes, and is used again without an allocation") {
  OutputPool pool(graph(), kBudget, 1);
  std::vector<Result> results(1);
  run(pool, pack_of(7), 1, results);
  const float* const place = results[0].embedding.data;
  CHECK(pool.stats().free == 0);
  results[0].embedding = {};
  CHECK(pool.stats().free == 0);  // token_features still looks into it
  results[0].token_features = {};
  CHECK(pool.stats().free == 1);

  Pack pack = pack_of(64);
  int wrong = 0;  // a CHECK allocates
  const std::int64_t again = counting::allocations();
  for (int i = 0; i < 1000; ++i) {
    pack.tokens = pack.segments[0].grid.cols = 1 + i % 64;
    run(pool, pack, static_cast<float>(i), results);
    wrong += all_are(results[0].token_features, static_cast<float>(i)) && results[0].embedding.data == place ? 0 : 1;
    results[0] = {};
  }
  const std::int64_t allocated = counting::allocations() - again;
  CHECK(allocated == 0);
  CHECK(wrong == 0);
}

TEST_CASE("kept results make the pool grow by what they need, and it shrinks back to its reserve") {
  OutputPool pool(graph(), kBudget, 2);
  const std::size_t reserved = pool.stats().bytes;
  CHECK(reserved == 2 * (4 * 8 * 4 + 64 * 8 * 4));
  {
    std::deque<std::vector<Result>> kept;
    for (int i = 0; i < 100; ++i) run(pool, pack_of(3), static_cast<float>(i), kept.emplace_back(1));
    CHECK(pool.stats().free == 0);
    CHECK(pool.stats().extra == 98);
    CHECK(pool.stats().bytes == reserved + 98 * (64 + 128));  // 32 and 96 bytes, as far as they are rounded
    for (int i = 0; i < 100; ++i) {
      CHECK(all_are(kept[static_cast<std::size_t>(i)][0].embedding, static_cast<float>(i)));
      CHECK(all_are(kept[static_cast<std::size_t>(i)][0].token_features, static_cast<float>(i)));
    }
  }
  CHECK(pool.stats().free == 2);
  CHECK(pool.stats().extra == 0);
  CHECK(pool.stats().kept > 0);
  CHECK(pool.stats().bytes <= 2 * reserved);
  std::vector<Result> results(1);
  for (int i = 0; i < 1100; ++i) run(pool, pack_of(3), 0, results);
  results[0] = {};
  CHECK(pool.stats().kept == 0);
  CHECK(pool.stats().bytes == reserved);
}

TEST_CASE("a reader who is always a few packs behind costs no allocation") {
  OutputPool pool(graph(), kBudget, 2);
  std::array<std::vector<Result>, 4> behind;
  for (auto& results : behind) results.resize(1);
  Pack pack = pack_of(64);
  const auto go = [&](std::size_t packs) {
    for (std::size_t i = 0; i < packs; ++i) {
      pack.tokens = pack.segments[0].grid.cols = static_cast<std::int32_t>(50 + i % 15);
      behind[i % behind.size()][0] = {};
      run(pool, pack, static_cast<float>(i), behind[i % behind.size()]);
    }
  };
  go(8);
  const std::int64_t before = counting::allocations();
  go(5000);
  const std::int64_t allocated = counting::allocations() - before;
  CHECK(allocated == 0);
}

TEST_CASE("a small pack does not keep the memory of a large one") {
  OutputPool pool(graph(), kBudget, 1);
  std::vector<Result> held(1);
  run(pool, pack_of(64), 1, held);
  std::vector<Result> results(1);
  run(pool, pack_of(64), 1, results);
  results[0] = {};
  CHECK(pool.stats().kept == 1);
  const std::size_t free = pool.stats().bytes;
  run(pool, pack_of(1), 1, results);
  CHECK(pool.stats().bytes - free == 64 + 64);
}

TEST_CASE("results outlive the pool, and the last of them frees its memory") {
  const std::int64_t before = counting::live_bytes();
  {
    std::vector<Result> results(1);
    std::vector<Result> more(1);
    {
      OutputPool pool(graph(), kBudget, 1);
      run(pool, pack_of(9), 3, results);
      run(pool, pack_of(9), 4, more);
    }
    CHECK(all_are(results[0].token_features, 3));
    CHECK(all_are(more[0].token_features, 4));
    const OutputView copy = results[0].token_features;
    results.clear();
    CHECK(all_are(copy, 3));
  }
  const std::int64_t after = counting::live_bytes();
  CHECK(after == before);
}

TEST_CASE("a result that outlives its pool keeps its own set and no other") {
  const std::int64_t before = counting::live_bytes();
  std::vector<Result> kept(1);
  std::int64_t one = 0;
  {
    OutputPool pool(graph(), kBudget, 1);
    run(pool, pack_of(9), 3, kept);
    one = counting::live_bytes() - before;
  }
  kept[0] = {};
  {
    OutputPool pool(graph(), kBudget, 8);
    run(pool, pack_of(9), 3, kept);
  }
  CHECK(all_are(kept[0].token_features, 3));
  CHECK(counting::live_bytes() - before < one + one / 2);
}

TEST_CASE("a weak pointer to the owner keeps no result alive and breaks nothing") {
  OutputPool pool(graph(), kBudget, 1);
  std::vector<Result> results(1);
  run(pool, pack_of(9), 3, results);
  std::weak_ptr<const void> weak = results[0].embedding.owner;
  results[0] = {};
  CHECK(weak.lock() == nullptr);
  CHECK(pool.stats().free == 0);  // its counters are where the next shared pointer's will be
  run(pool, pack_of(9), 5, results);
  CHECK(all_are(results[0].embedding, 5));
  weak.reset();
  results[0] = {};
  CHECK(pool.stats().free == 1);
  CHECK(pool.stats().extra == 0);
}

TEST_CASE("packs of many threads, results that die on others: no value is overwritten while it can be seen") {
  constexpr int kProducers = 3;
  constexpr int kPacks = 2000;
  std::optional<OutputPool> pool(std::in_place, graph(), kBudget, 4);
  std::mutex mutex;
  std::vector<std::pair<float, OutputView>> alive;  // guarded by mutex
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int producer = 0; producer < kProducers; ++producer) {
    threads.emplace_back([&, producer] {
      std::mt19937 random(static_cast<unsigned>(producer));
      std::vector<Result> results(1);
      for (int i = 0; i < kPacks; ++i) {
        const auto value = static_cast<float>(producer * kPacks + i);
        run(*pool, pack_of(1 + static_cast<std::int32_t>(random() % 64)), value, results);
        OutputView view = i % 2 == 0 ? results[0].embedding : results[0].token_features;
        results[0] = {};
        std::pair<float, OutputView> gone;
        const std::lock_guard lock(mutex);
        alive.emplace_back(value, std::move(view));
        if (alive.size() > 1 + random() % 12) {
          std::swap(gone, alive[random() % alive.size()]);
          std::swap(alive.back(),
                    *std::find_if(alive.begin(), alive.end(), [](const auto& one) { return one.second.empty(); }));
          alive.pop_back();
          wrong += all_are(gone.second, gone.first) ? 0 : 1;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  pool.reset();
  for (const auto& [value, view] : alive) CHECK(all_are(view, value));
}
