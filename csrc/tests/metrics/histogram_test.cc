// Buckets, quantiles, and what refuses to become Prometheus text. That text itself, and quantiles against numpy, are
// judged in tests/python/test_metrics.py.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/metrics.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

/// The definition, by search.
std::size_t bucket_of(const Buckets& buckets, double value) {
  std::size_t i = 0;
  while (i < buckets.size() && value > buckets.bound(i)) ++i;
  return i;
}

}  // namespace

TEST_CASE("a value lies in the first bucket whose bound it does not exceed, at every bound and one bit beside it") {
  for (const Buckets* buckets : {&Buckets::seconds(), &Buckets::ratio(), &Buckets::images(), &Buckets::tokens()}) {
    for (std::size_t i = 0; i < buckets->size(); ++i) {
      const double bound = buckets->bound(i);
      if (i > 0) CHECK(bound > buckets->bound(i - 1));
      CHECK(buckets->index(bound) == i);
      CHECK(buckets->index(std::nextafter(bound, 0.0)) == bucket_of(*buckets, std::nextafter(bound, 0.0)));
      CHECK(buckets->index(std::nextafter(bound, 1e9)) == i + 1);
    }
    std::mt19937_64 random(5);
    std::uniform_real_distribution<double> exponents(-22, 20);
    for (int i = 0; i < 20000; ++i) {
      const double value = std::exp2(exponents(random));
      CHECK(buckets->index(value) == bucket_of(*buckets, value));
    }
  }
}

TEST_CASE("nothing falls outside: zero, negative, not a number, infinite") {
  const Buckets& buckets = Buckets::seconds();
  CHECK(buckets.index(0) == 0);
  CHECK(buckets.index(-1) == 0);
  CHECK(buckets.index(std::numeric_limits<double>::quiet_NaN()) == 0);
  CHECK(buckets.index(std::numeric_limits<double>::denorm_min()) == 0);
  CHECK(buckets.index(std::numeric_limits<double>::infinity()) == buckets.size());
}

TEST_CASE("times from 1 us to 134 s, and whole numbers up to 16, have the buckets they need") {
  const Buckets& seconds = Buckets::seconds();
  CHECK(seconds.bound(0) == 1e-6);
  CHECK(seconds.bound(1) == 1.125e-6);
  CHECK(seconds.bound(8 * 10) == 1.024e-3);
  CHECK(seconds.bound(seconds.size() - 1) == 134.217728);
  for (std::size_t i = 1; i < seconds.size(); ++i) {
    CHECK(seconds.bound(i) - seconds.bound(i - 1) <= seconds.bound(i - 1) / 8 * (1 + 1e-12));
  }
  for (int n = 2; n <= 16; ++n) CHECK(Buckets::tokens().index(n) != Buckets::tokens().index(n - 1));
}

TEST_CASE("quantiles lie between the smallest and the largest value, and an empty histogram has none") {
  Histogram histogram(Buckets::seconds());
  CHECK(std::isnan(histogram.quantile(0.5)));
  CHECK(std::isnan(histogram.mean()));
  histogram.observe(0.0123);
  for (const double q : {0.0, 0.5, 0.99, 1.0}) CHECK(histogram.quantile(q) == 0.0123);
  histogram.observe(1000);  // above the last bound
  CHECK(histogram.quantile(0) == 0.0123);
  CHECK(histogram.quantile(1) == 1000);
  CHECK(histogram.mean() == (1000 + 0.0123) / 2);
  CHECK_THROWS_WITH_AS(histogram.quantile(99), "expected 0 to 1, as 0.99 for p99", InvalidInput);
  CHECK_THROWS_AS(histogram.quantile(std::numeric_limits<double>::quiet_NaN()), InvalidInput);
}

TEST_CASE("labels that Prometheus would refuse are refused here") {
  const Metrics metrics;
  for (const char* name : {"", "1st", "a-b", "a b", "__internal", "le", "error"}) {
    CHECK_THROWS_WITH_AS(to_prometheus(metrics, {{name, "x"}}), "is no name for a label", InvalidInput);
  }
  CHECK_THROWS_WITH_AS(to_prometheus(metrics, {{"a", "x"}, {"a", "y"}}), "given twice", InvalidInput);
  const std::vector<LabelledMetrics> twins = {{&metrics, {{"a", "x"}}}, {&metrics, {{"a", "x"}}}};
  CHECK_THROWS_WITH_AS(to_prometheus(twins), "two sessions have the labels {a=\"x\"}", InvalidInput);
}
