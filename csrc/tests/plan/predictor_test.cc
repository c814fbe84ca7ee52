// Predictions that learn, on traces: each is made of packs whose true time is known.
#include "plan/predictor.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "support/check.h"
#include "support/counting_allocator.h"

using namespace navit_edge;

namespace {

struct Pack {
  std::size_t budget;
  double model_us;
  double true_us;  // without noise
  double measured_us;
};

/// Packs of several budgets and sizes, each with a factor of its own, on a machine of the speed that `slowness` says.
std::vector<Pack> trace(std::size_t packs, const std::vector<double>& shares, const std::vector<double>& factors,
                        double noise, const std::function<double(std::size_t)>& slowness, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::discrete_distribution<std::size_t> budget(shares.begin(), shares.end());
  std::uniform_real_distribution<double> size(0.3, 1);
  std::normal_distribution<double> jitter(0, noise);
  std::vector<Pack> made;
  for (std::size_t i = 0; i < packs; ++i) {
    const std::size_t b = budget(random);
    const double model_us = 5000 * std::pow(4.0, static_cast<double>(b)) * size(random);
    const double true_us = model_us * factors[b] * slowness(i);
    made.push_back({b, model_us, true_us, true_us * std::exp(jitter(random))});
  }
  return made;
}

double error(const Predictor& predictor, const Pack& pack) {
  return std::abs(predictor.expected_us(pack.budget, pack.model_us) / pack.true_us - 1);
}

/// The median of the errors over packs [begin, end), each predicted before it ran.
double error_between(const std::vector<Pack>& packs, std::size_t begin, std::size_t end, double* kept = nullptr) {
  Predictor predictor;
  std::vector<double> errors;
  double in_time = 0;
  for (std::size_t i = 0; i < end; ++i) {
    const Pack& pack = packs[i];
    if (i >= begin) {
      errors.push_back(error(predictor, pack));
      in_time += pack.measured_us <= predictor.safe_us(pack.budget, pack.model_us) ? 1 : 0;
    }
    predictor.observe(pack.budget, pack.model_us, pack.measured_us);
  }
  if (kept != nullptr) *kept = in_time / static_cast<double>(errors.size());
  std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2), errors.end());
  return errors[errors.size() / 2];
}

double steady(std::size_t) { return 1; }

}  // namespace

TEST_CASE("a step of four times, up or down, is followed within twenty packs to an error below a tenth") {
  for (const double step : {4.0, 0.25}) {
    for (const double noise : {0.0, 0.02, 0.05, 0.1}) {
      for (unsigned seed = 1; seed <= 20; ++seed) {
        const auto slowness = [&](std::size_t i) { return i < 60 ? 8.0 : 8.0 * step; };
        const std::vector<Pack> packs = trace(100, {1, 1, 1}, {1, 1.5, 0.8}, noise, slowness, seed);
        const double found = error_between(packs, 80, 100);
        CHECK(found < 0.1);
      }
    }
  }
}

TEST_CASE("with nothing measured the model's word holds, and one pack is enough to know its size") {
  Predictor predictor(2);
  CHECK(!predictor.known());
  CHECK(predictor.expected_us(0, 100) == 200);
  CHECK(predictor.safe_us(3, 100) == 200);
  predictor.observe(0, 100, 700);
  CHECK(predictor.known());
  CHECK(std::abs(predictor.expected_us(0, 50) - 350) < 1e-9);
  CHECK(std::abs(predictor.expected_us(7, 50) - 350) < 1e-9);  // of a budget that was never seen
}

TEST_CASE("one outlier moves nothing, wherever it comes") {
  for (const double outlier : {50.0, 0.02}) {
    for (std::size_t at = 4; at < 60; ++at) {
      std::vector<Pack> packs = trace(at + 12, {1, 1}, {1, 1.3}, 0.02, steady, 5);
      Predictor with;
      Predictor without;
      for (std::size_t i = 0; i < packs.size(); ++i) {
        const Pack& pack = packs[i];
        with.observe(pack.budget, pack.model_us, (i == at ? outlier : 1) * pack.measured_us);
        without.observe(pack.budget, pack.model_us, pack.measured_us);
        const Pack& next = packs[std::min(i + 1, packs.size() - 1)];
        const double center = with.expected_us(next.budget, next.model_us);
        CHECK(std::abs(std::log(center / without.expected_us(next.budget, next.model_us))) < (at < 16 ? 0.35 : 0.1));
        CHECK(std::abs(std::log(with.safe_us(next.budget, next.model_us) / center)) < 0.4);
      }
    }
  }
}

TEST_CASE("some nine of ten packs keep what is promised, at any scatter and also when few slow ones are far off") {
  for (const double noise : {0.01, 0.05, 0.1, 0.3}) {
    double kept = 0;
    for (unsigned seed = 1; seed <= 20; ++seed) {
      double one = 0;
      CHECK(error_between(trace(300, {1, 1}, {1, 1.5}, noise, steady, seed), 50, 300, &one) < 0.03 + 0.4 * noise);
      kept += one / 20;
    }
    CHECK(kept > 0.9);
    CHECK(kept < 0.97);  // and are promised no more than that
  }
  std::mt19937 random(3);
  std::vector<Pack> packs = trace(2000, {1}, {3}, 0.03, steady, 3);
  for (Pack& pack : packs) pack.measured_us *= random() % 20 == 0 ? 3 : 1;
  double kept = 0;
  CHECK(error_between(packs, 50, 2000, &kept) < 0.03);
  CHECK(kept > 0.9);
}

TEST_CASE("a drift is followed") {
  // Twice as slow after 140 packs, as of a device that grows warm; then fast again.
  const auto slowness = [](std::size_t i) { return i < 400 ? std::exp(0.005 * static_cast<double>(i)) : 1; };
  const std::vector<Pack> packs = trace(440, {1, 1}, {1, 1.3}, 0.03, slowness);
  CHECK(error_between(packs, 20, 400) < 0.06);
  CHECK(error_between(packs, 410, 440) < 0.06);
}

TEST_CASE("a budget that is seen seldom follows the speed of the others, and keeps what it takes on top") {
  std::vector<Pack> packs;
  for (std::size_t i = 0; i < 400; ++i) {
    const bool rare = i % 25 == 24;
    const double slowness = i < 300 ? 1 : 4;
    const double model_us = 10000;
    const double true_us = model_us * slowness * (rare ? 1.8 : 1);
    packs.push_back({rare ? std::size_t{1} : 0, model_us, true_us, true_us});
  }
  Predictor predictor;
  for (std::size_t i = 0; i < packs.size(); ++i) {
    const Pack& pack = packs[i];
    // Three of it were seen: the factor of all budgets. Later its own, also at the first one after the step.
    if (pack.budget == 1 && i < 4 * 25) CHECK(std::abs(error(predictor, pack) - (1 - 1 / 1.8)) < 0.01);
    if (pack.budget == 1 && i > 7 * 25) CHECK(error(predictor, pack) < 0.1);
    predictor.observe(pack.budget, pack.model_us, pack.measured_us);
  }
}

TEST_CASE("a fixed time that the model does not know is learned from packs of different sizes") {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> size(1000, 16000);
  Predictor predictor;
  double worst = 0;
  for (int i = 0; i < 300; ++i) {
    const double model_us = size(random);
    const double true_us = 2 * model_us + 8000;
    if (i > 100) worst = std::max(worst, std::abs(predictor.expected_us(0, model_us) / true_us - 1));
    predictor.observe(0, model_us, true_us);
  }
  CHECK(worst < 0.5);  // one factor for all sizes is off by up to two thirds
  CHECK(predictor.center().slope < -0.2);
}

TEST_CASE("what makes no sense teaches nothing, and nothing is allocated") {
  Predictor predictor;
  const std::int64_t before = counting::allocations();
  predictor.observe(0, 0, 10);
  predictor.observe(0, 10, 0);
  predictor.observe(0, 1e-320, 1e300);
  predictor.observe(0, std::nan(""), 10);
  const bool known = predictor.known();
  for (std::size_t i = 0; i < 200; ++i) predictor.observe(i, 100 + static_cast<double>(i), 300);
  const std::int64_t made = counting::allocations() - before;  // CHECK allocates, too
  CHECK(!known);
  CHECK(made == 0);
  CHECK(std::isinf(predictor.expected_us(0, INFINITY)));
  CHECK(predictor.expected_us(0, 0) == 0);
}
