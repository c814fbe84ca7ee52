#include "plan/predictor.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace navit_edge {
namespace {

/// Promises look at more packs than plans do: the tail of a distribution needs them.
constexpr double kSafeHalfLife = 2 * Predictor::kHalfLife;
/// As much of the weight may lie above a promise, and always the highest pack.
constexpr double kAbove = 0.05;
/// Until packs have told how they scatter, a promise leaves this much room, divided by the root of their number.
constexpr double kRoom = 0.1;
/// Another speed, in logarithms and in standard deviations of a pack: nearer, the half-life follows by itself.
constexpr double kChange = 0.15;
constexpr double kChangeScatters = 3;
constexpr std::size_t kBefore = 12;  // packs that tell of the speed before a change
constexpr double kNormal = 1.4826;   // standard deviation / median of deviations, of a normal distribution
/// What a budget is told by one pack, at least; the first packs count for more.
constexpr double kLearn = 1.0 / 16;
/// A pack that differs by more, in logarithms and in standard deviations, counts as one that differs by that.
constexpr double kDiffers = 0.1;
constexpr double kDiffersScatters = 3;
/// Of the regression on sizes: its memory, how much it must have seen, and what it may find.
constexpr double kKeep = 0.98;
constexpr double kRidge = 1;
constexpr double kMostSlope = 0.5;

}  // namespace

void Predictor::observe(std::size_t budget, double model_us, double measured_us) noexcept {
  if (!(model_us > 0) || !(measured_us > 0)) return;
  const double ratio = std::log(measured_us / model_us);
  if (!std::isfinite(ratio)) return;  // of a model that predicts next to nothing, or of a clock that went mad
  const std::size_t b = std::min(budget, kBudgets - 1);
  packs_[next_] = {ratio, std::log(model_us), static_cast<std::uint32_t>(b)};
  budgets_ = std::max(budgets_, b + 1);
  next_ = (next_ + 1) % kKept;
  kept_ = std::min(kept_ + 1, kKept);
  ++count_;
  learn_differences();
  forget_before_a_change();
  conclude();
}

double Predictor::on_top(std::size_t budget) const noexcept { return seen_[budget] >= kHandful ? budget_[budget] : 0; }

double Predictor::speed(std::size_t age) const noexcept {
  const Pack& one = pack(age);
  return one.ratio - on_top(one.budget) - slope_ * one.size;
}

/// Of `count` packs from age `from` on; at most kBefore.
double Predictor::median_of(std::size_t count, std::size_t from) const noexcept {
  std::array<double, kBefore> values{};
  for (std::size_t i = 0; i < count; ++i) values[i] = speed(from + i);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((count - 1) / 2);
  std::nth_element(values.begin(), middle, values.begin() + static_cast<std::ptrdiff_t>(count));
  return *middle;
}

/// Compares the pack in the middle of the last kWindow with the others: a median in a window keeps the edge of a change
/// where it is, so that it does not look like a difference between budgets or sizes.
void Predictor::learn_differences() noexcept {
  if (kept_ < kWindow) return;
  constexpr std::size_t kMiddle = kWindow / 2;
  const Pack& one = pack(kMiddle);
  const double rest = speed(kMiddle) - median_of(kWindow);
  const double most = std::max(kDiffers, kDiffersScatters * scatter_);
  const double difference = std::clamp(rest, -most, most);

  std::uint32_t& seen = seen_[one.budget];
  if (seen < kHandful) {  // `speed` knows nothing of it yet
    std::array<double, kHandful>& first = first_[one.budget];
    first[seen] = rest;
    if (seen + 1 == kHandful) {
      std::sort(first.begin(), first.end());
      budget_[one.budget] = (first[(kHandful - 1) / 2] + first[kHandful / 2]) / 2;
    }
  } else {
    budget_[one.budget] += std::max(kLearn, 1.0 / (seen + 1.0)) * difference;
  }
  if (seen < UINT32_MAX) ++seen;

  std::array<double, kWindow> sizes{};
  for (std::size_t i = 0; i < kWindow; ++i) sizes[i] = pack(i).size;
  std::nth_element(sizes.begin(), sizes.begin() + kMiddle, sizes.end());
  const double size = one.size - sizes[kMiddle];
  size_products_ = kKeep * size_products_ + size * (difference + slope_ * size);
  size_squares_ = kKeep * size_squares_ + size * size;
  slope_ = std::clamp(size_products_ / (size_squares_ + kRidge), -kMostSlope, kMostSlope);
}

/// If most of the last kRecent packs lie elsewhere than those before, only what came since counts.
void Predictor::forget_before_a_change() noexcept {
  if (kept_ <= kRecent) return;
  const double recent = median_of(kRecent);
  const double before = median_of(std::min(kept_ - kRecent, kBefore), kRecent);
  if (std::abs(recent - before) <= std::max(kChange, kChangeScatters * scatter_)) return;
  // How many have come since; one in between may be an outlier.
  std::size_t since = 0;
  for (std::size_t age = 0; age < kept_ && age <= since + 1; ++age) {
    const double one = speed(age);
    if (std::abs(one - recent) < std::abs(one - before)) since = age + 1;
  }
  if (since <= kRecent / 2) return;
  kept_ = std::min(kept_, since);
  ++changes_;
}

/// The highest speed with more than `above` of the weight at or above it.
double Predictor::quantile(double Weighted::* weight, double above) const noexcept {
  double sum = 0;
  for (std::size_t i = kept_; i-- > 0;) {
    sum += sorted_[i].*weight;
    if (sum > above) return sorted_[i].value;
  }
  return sorted_[0].value;
}

/// The least distance from `center` within which more than `within` of the weight lies.
double Predictor::deviation(double center, double within) const noexcept {
  std::size_t above = 0;  // the first speed that is not below
  while (above < kept_ && sorted_[above].value < center) ++above;
  std::size_t below = above;  // one more than the next one
  double sum = 0;
  double distance = 0;
  while (sum <= within && (below > 0 || above < kept_)) {
    const double down = below > 0 ? center - sorted_[below - 1].value : std::numeric_limits<double>::infinity();
    const double up = above < kept_ ? sorted_[above].value - center : std::numeric_limits<double>::infinity();
    distance = std::min(down, up);
    sum += down < up ? sorted_[--below].of_promises : sorted_[above++].of_promises;
  }
  return distance;
}

void Predictor::conclude() noexcept {
  static const double plans_fade = std::exp2(-1 / kHalfLife);
  static const double promises_fade = std::exp2(-1 / kSafeHalfLife);
  Weighted next{0, 1, 1};
  double plans = 0;  // weight
  double promises = 0;
  for (std::size_t age = 0; age < kept_; ++age) {
    next.value = speed(age);
    sorted_[age] = next;
    plans += next.of_plans;
    promises += next.of_promises;
    next.of_plans *= plans_fade;
    next.of_promises *= promises_fade;
  }
  std::sort(sorted_.begin(), sorted_.begin() + static_cast<std::ptrdiff_t>(kept_),
            [](const Weighted& a, const Weighted& b) { return a.value < b.value; });
  const double center = quantile(&Weighted::of_plans, plans / 2);
  const double above = quantile(&Weighted::of_promises, std::max(kAbove * promises, 1.0));
  scatter_ = kNormal * deviation(center, promises / 2);

  center_.factor = std::exp(center);
  center_.slope = slope_;
  center_.known = true;
  for (std::size_t b = 0; b < budgets_; ++b) center_.budget[b] = std::exp(on_top(b));
  safe_ = center_;
  const double room = kRoom / std::sqrt(static_cast<double>(count_));
  safe_.factor = std::exp(std::max(above, center + std::min(room, 2 * scatter_)));

  std::array<double, kWindow> ratios{};
  const std::size_t recent = std::min(kept_, kWindow);
  for (std::size_t age = 0; age < recent; ++age) ratios[age] = pack(age).ratio;
  const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>((recent - 1) / 2);
  std::nth_element(ratios.begin(), middle, ratios.begin() + static_cast<std::ptrdiff_t>(recent));
  ratio_ = std::exp(*middle);
}

}  // namespace navit_edge
