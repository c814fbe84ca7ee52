#include "plan/spread.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace navit_edge {
namespace {

constexpr double kEndless = std::numeric_limits<double>::infinity();
/// No search for less than this over the bound: predictions are not better than that.
constexpr double kNearEnough = 1.001;
/// So few packs are searched through, in so many steps at most: well under a millisecond.
constexpr std::size_t kFew = 12;
constexpr int kMostSteps = 20000;
/// Swaps are tried up to here; with more packs, moves leave little.
constexpr std::size_t kMostSwapped = 128;

/// Packs on devices, and when each device ends.
class Spread {
 public:
  Spread(std::span<const double> times_us, std::span<const PlanDevice> devices)
      : times_(times_us), devices_(devices), on_(times_us.size()), packs_(devices.size()) {
    for (const PlanDevice& device : devices) ends_.push_back(device.ready_us);
    order_.resize(times_us.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) { return times_[a] > times_[b]; });
    bound_ = fluid_end_us(std::accumulate(times_us.begin(), times_us.end(), 0.0), devices);
  }

  void longest_first() {
    for (const std::size_t pack : order_) {
      std::size_t first = 0;
      double least = kEndless;
      for (std::size_t d = 0; d < devices_.size(); ++d) {
        const double end = ends_[d] + time_on(d, pack);
        if (end < least) {
          least = end;
          first = d;
        }
      }
      put(pack, first);
    }
  }

  /// Takes from the device that ends last while something makes it end earlier and no other end as late.
  void improve() {
    for (std::size_t round = 0; round < 4 * times_.size() + 16; ++round) {
      const std::size_t last = last_device();
      if (last_end() <= kNearEnough * bound_ || !relieve(last)) return;
    }
  }

  void search() {
    if (times_.size() > kFew || last_end() <= kNearEnough * bound_) return;
    best_ = on_;
    best_end_ = last_end();
    std::vector<double> ends;
    for (const PlanDevice& device : devices_) ends.push_back(device.ready_us);
    place(0, ends, 0);
    on_ = best_;
  }

  [[nodiscard]] std::vector<std::size_t> take() { return std::move(on_); }

 private:
  [[nodiscard]] double time_on(std::size_t device, std::size_t pack) const {
    return devices_[device].slowness < kEndless ? devices_[device].slowness * times_[pack] : kEndless;
  }
  void put(std::size_t pack, std::size_t device) {
    on_[pack] = device;
    ends_[device] += time_on(device, pack);
    ++packs_[device];
  }
  void remove(std::size_t pack) {
    ends_[on_[pack]] -= time_on(on_[pack], pack);
    --packs_[on_[pack]];
  }
  [[nodiscard]] std::size_t last_device() const {
    std::size_t last = 0;
    double end = -1;
    for (std::size_t d = 0; d < ends_.size(); ++d) {
      if (packs_[d] > 0 && ends_[d] > end) {
        end = ends_[d];
        last = d;
      }
    }
    return last;
  }
  [[nodiscard]] double last_end() const { return times_.empty() ? 0 : ends_[last_device()]; }

  bool relieve(std::size_t last) {
    double least = ends_[last] * (1 - 1e-12);
    std::size_t gives = 0;
    std::size_t to = last;
    std::size_t takes = times_.size();  // none
    for (std::size_t pack = 0; pack < times_.size(); ++pack) {
      if (on_[pack] != last) continue;
      const double without = ends_[last] - time_on(last, pack);
      for (std::size_t d = 0; d < devices_.size(); ++d) {
        if (d == last) continue;
        const double end = std::max(without, ends_[d] + time_on(d, pack));
        if (end < least) {
          least = end;
          gives = pack;
          to = d;
          takes = times_.size();
        }
      }
      if (times_.size() > kMostSwapped) continue;
      for (std::size_t other = 0; other < times_.size(); ++other) {
        const std::size_t d = on_[other];
        if (d == last) continue;
        const double end = std::max(without + time_on(last, other), ends_[d] - time_on(d, other) + time_on(d, pack));
        if (end < least) {
          least = end;
          gives = pack;
          to = d;
          takes = other;
        }
      }
    }
    if (to == last) return false;
    remove(gives);
    put(gives, to);
    if (takes < times_.size()) {
      remove(takes);
      put(takes, last);
    }
    return true;
  }

  /// The packs of `order_` from `next` on, on devices that end at `ends`; `end`: the last pack so far.
  void place(std::size_t next, std::vector<double>& ends, double end) {
    if (++steps_ > kMostSteps) return;
    if (next == order_.size()) {
      best_end_ = end;
      best_ = on_;
      return;
    }
    const std::size_t pack = order_[next];
    for (std::size_t d = 0; d < devices_.size(); ++d) {
      const double before = ends[d];
      const double after = before + time_on(d, pack);
      if (after >= best_end_ * (1 - 1e-12) || best_end_ <= kNearEnough * bound_) continue;
      const auto same = [&](std::size_t other) {  // as good as one that has been tried
        return ends[other] == before && devices_[other].slowness == devices_[d].slowness;
      };
      bool tried = false;
      for (std::size_t other = 0; other < d && !tried; ++other) tried = same(other);
      if (tried) continue;
      ends[d] = after;
      on_[pack] = d;
      place(next + 1, ends, std::max(end, after));
      ends[d] = before;
    }
  }

  std::span<const double> times_;
  std::span<const PlanDevice> devices_;
  std::vector<std::size_t> order_;  // the longest first
  std::vector<std::size_t> on_;     // [packs] its device
  std::vector<double> ends_;        // [devices]
  std::vector<std::size_t> packs_;  // [devices] how many
  double bound_ = 0;
  std::vector<std::size_t> best_;
  double best_end_ = kEndless;
  int steps_ = 0;
};

}  // namespace

double fluid_end_us(double work_us, std::span<const PlanDevice> devices) {
  std::vector<PlanDevice> by_ready;
  for (const PlanDevice& device : devices) {
    if (device.slowness < kEndless) by_ready.push_back(device);
  }
  std::sort(by_ready.begin(), by_ready.end(),
            [](const PlanDevice& a, const PlanDevice& b) { return a.ready_us < b.ready_us; });
  double speed = 0;
  double done = 0;  // at time 0 by those that are ready by then, if they had always been at it: below 0
  double end = kEndless;
  for (const PlanDevice& device : by_ready) {
    if (device.ready_us >= end) break;
    speed += 1 / device.slowness;
    done -= device.ready_us / device.slowness;
    end = (work_us - done) / speed;
  }
  return end;
}

std::vector<std::size_t> spread(std::span<const double> times_us, std::span<const PlanDevice> devices) {
  Spread packs(times_us, devices);
  packs.longest_first();
  packs.improve();
  packs.search();
  return packs.take();
}

}  // namespace navit_edge
