// Packs spread over devices of different speeds, against the best of all ways to spread them.
#include "plan/spread.h"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

double end_of(const std::vector<double>& times, const std::vector<PlanDevice>& devices,
              const std::vector<std::size_t>& on) {
  double last = 0;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    double end = devices[d].ready_us;
    bool any = false;
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (on[i] != d) continue;
      end += devices[d].slowness * times[i];
      any = true;
    }
    if (any) last = std::max(last, end);
  }
  return last;
}

/// The least end of all ways.
double least_end(const std::vector<double>& times, const std::vector<PlanDevice>& devices) {
  std::vector<std::size_t> on(times.size(), 0);
  double least = kNever;
  while (true) {
    least = std::min(least, end_of(times, devices, on));
    std::size_t i = 0;
    while (i < on.size() && ++on[i] == devices.size()) on[i++] = 0;
    if (i == on.size()) return least;
  }
}

std::vector<PlanDevice> some_devices(std::mt19937& random, std::size_t count) {
  std::vector<PlanDevice> devices(count);
  for (PlanDevice& device : devices) {
    device.slowness = 1 + static_cast<double>(random() % 5) * 0.75;
    device.ready_us = random() % 3 == 0 ? static_cast<double>(random() % 2000) : 0;
  }
  return devices;
}

std::vector<double> some_times(std::mt19937& random, std::size_t count) {
  std::vector<double> times(count);
  for (double& time : times) time = 100 + static_cast<double>(random() % 5000);
  return times;
}

}  // namespace

TEST_CASE("few packs end when the best of all spreads does") {
  std::mt19937 random(20);
  for (int i = 0; i < 300; ++i) {
    const std::vector<PlanDevice> devices = some_devices(random, 2 + random() % 2);
    const std::vector<double> times = some_times(random, 1 + random() % 7);
    const double end = end_of(times, devices, spread(times, devices));
    CHECK(end <= 1.002 * least_end(times, devices));
    CHECK(least_end(times, devices) >= fluid_end_us(0, devices));
  }
}

TEST_CASE("many packs end within two hundredths of what devices could do that split packs as they like") {
  std::mt19937 random(21);
  for (int i = 0; i < 100; ++i) {
    const std::vector<PlanDevice> devices = some_devices(random, 2 + random() % 6);
    const std::vector<double> times = some_times(random, 150 + random() % 300);
    double work = 0;
    for (const double time : times) work += time;
    const double bound = fluid_end_us(work, devices);
    const double end = end_of(times, devices, spread(times, devices));
    CHECK(end >= bound * (1 - 1e-9));
    CHECK(end <= 1.02 * bound);
  }
}

TEST_CASE("a device that takes nothing gets nothing, and one that is busy for long gets its packs last") {
  const std::vector<double> times(8, 1000);
  const std::vector<PlanDevice> devices{{1, 0}, {kNever, 0}, {1, 1e9}};
  CHECK(spread(times, devices) == std::vector<std::size_t>(8, 0));
  CHECK(spread({}, devices).empty());
  CHECK(fluid_end_us(8000, devices) == 8000);
  CHECK(fluid_end_us(3000, std::vector<PlanDevice>{{1, 0}, {2, 0}}) == 2000);
}

TEST_CASE("a plan over several devices divides what would be one pack, and says where each pack ends") {
  PlanLimits limits;
  limits.budgets = {{4096, 64, 4096, 0}};
  limits.cost.dynamic_tokens = true;
  limits.cost.budgets = {{100, 10, 0}};
  const std::vector<std::int32_t> tokens(16, 200);
  CHECK(plan_packs(tokens, limits).packs.size() == 1);
  limits.devices = {{1, 0}, {1, 0}};
  const Plan two = plan_packs(tokens, limits);
  CHECK(two.packs.size() == 2);
  CHECK(two.predicted_us == 100 + 10 * 1600);
  limits.devices = {{1, 0}, {3, 0}};
  const Plan uneven = plan_packs(tokens, limits);
  double last = 0;
  std::vector<bool> seen(tokens.size(), false);
  std::vector<double> ends(2, 0);
  for (const PackPlan& pack : uneven.packs) {
    const auto device = static_cast<std::size_t>(pack.device);
    ends[device] += limits.devices[device].slowness * pack.predicted_us;
    CHECK(pack.finish_us == ends[device]);
    last = std::max(last, pack.finish_us);
    for (const std::int32_t image : pack.images) seen[static_cast<std::size_t>(image)] = true;
  }
  CHECK(last == uneven.predicted_us);
  CHECK(std::count(seen.begin(), seen.end(), true) == 16);
  CHECK(uneven.predicted_us < 100 + 10 * 3200);  // better than the fast one alone
}

TEST_CASE("devices that make no sense are refused") {
  PlanLimits limits;
  limits.budgets = {{4096, 64, 4096, 0}};
  limits.devices = {{0, 0}, {1, 0}};
  CHECK_THROWS_WITH_AS(plan_packs(std::vector<std::int32_t>{5}, limits), "a device has the slowness 0", InvalidInput);
  limits.devices = {{1, -1}, {1, 0}};
  CHECK_THROWS_AS(plan_packs(std::vector<std::int32_t>{5}, limits), InvalidInput);
  limits.devices = {{kNever, 0}, {kNever, 0}};
  CHECK_THROWS_WITH_AS(plan_packs(std::vector<std::int32_t>{5}, limits), "no device takes packs", InvalidInput);
}
