#include "session/device_loads.h"

#include <algorithm>
#include <cmath>

namespace navit_edge {

double pace_of(const DeviceLoads& devices, std::size_t device) noexcept {
  if (devices[device].pace().known()) return devices[device].pace().ratio();
  double sum = 0;
  int known = 0;
  for (const DeviceLoad& one : devices) {
    if (!one.pace().known() || one.lost()) continue;
    sum += one.pace().ratio();
    ++known;
  }
  return known > 0 ? sum / known : devices[device].pace().ratio();
}

std::size_t fastest_of(const DeviceLoads& devices) noexcept {
  std::size_t best = 0;
  for (std::size_t d = 1; d < devices.size(); ++d) {
    if (devices[d].lost()) continue;
    if (devices[best].lost() || pace_of(devices, d) < pace_of(devices, best)) best = d;
  }
  return best;
}

double speed_of(const DeviceLoads& devices) noexcept {
  double fastest = 0;
  double all = 0;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (devices[d].lost()) continue;
    const double pace = pace_of(devices, d);
    fastest = std::max(fastest, 1 / pace);
    all += 1 / pace;
  }
  return fastest > 0 ? all / fastest : 1;
}

std::uint64_t changes_of(const DeviceLoads& devices) noexcept {
  std::uint64_t all = 0;
  for (const DeviceLoad& one : devices) all += one.engine(false).changes() + one.engine(true).changes();
  return all;
}

Load load_of(const DeviceLoads& devices, double waiting_us, std::int64_t pixels, std::size_t images,
             const Governor& governor, Clock::time_point now) noexcept {
  const std::size_t fastest = fastest_of(devices);
  const DeviceLoad& on = devices[fastest];
  const double pace = pace_of(devices, fastest);
  const double speed = speed_of(devices);  // devices beside each other: as one that is so much faster
  const bool paired = images == 1 && on.gate().shares_device();
  Load load;
  double begun_us = 0;  // in the time of the fastest one
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (!devices[d].lost()) begun_us += devices[d].left_us(now) * (pace / pace_of(devices, d));
  }
  // One that shares the device with what is in it does not wait for that, but is slower.
  if (paired && on.gate().open()) begun_us = 0;
  load.queued_us = (begun_us + pace * waiting_us) / speed;
  load.images = static_cast<std::int32_t>(std::ceil(static_cast<double>(images) / speed));
  if (on.prepare().known()) {
    const double assumed_us = assumed_prepare_us(pixels, on.gate().threads(paired, paired));
    load.prepare_us = on.prepare().expected_us(0, assumed_us) / speed;
  }
  governor.inform(load, on.engine(paired));
  return load;
}

void learn_pack(DeviceLoad& on, const ScheduledPack& pack, double prepare_us, double engine_us) noexcept {
  std::int64_t pixels = 0;
  for (const std::int32_t image : pack.plan->images) {
    const ImageView& view = pack.images[static_cast<std::size_t>(image)];
    pixels += std::int64_t{view.height_px} * view.width_px;
  }
  on.prepare().observe(0, assumed_prepare_us(pixels, pack.threads), prepare_us);
  on.engine(pack.paired).observe(static_cast<std::size_t>(pack.plan->budget), pack.predicted_us, engine_us);
  assume_each_other(on.engine(false), on.engine(true));
}

}  // namespace navit_edge
