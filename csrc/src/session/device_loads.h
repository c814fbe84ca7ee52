// Several devices together: how fast they are, what they have in hand, what a latency target must know of that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "session/device_load.h"
#include "session/promise.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

using DeviceLoads = std::deque<DeviceLoad>;

/// The time of a pack on the device in parts of what the cost model says; until one was measured there, that of the
/// devices that are known.
[[nodiscard]] double pace_of(const DeviceLoads& devices, std::size_t device) noexcept;

/// Of those that are not lost; 0 if all are.
[[nodiscard]] std::size_t fastest_of(const DeviceLoads& devices) noexcept;

/// Of all that are not lost together, in parts of the fastest one.
[[nodiscard]] double speed_of(const DeviceLoads& devices) noexcept;

/// How often engines were found to have another speed.
[[nodiscard]] std::uint64_t changes_of(const DeviceLoads& devices) noexcept;

/// What a latency target must know. `waiting_us`: of what waits, by the cost model; `pixels`: of `images` images that
/// are given now.
[[nodiscard]] Load load_of(const DeviceLoads& devices, double waiting_us, std::int64_t pixels, std::size_t images,
                           const Governor& governor, Clock::time_point now) noexcept;

/// How long the pixels of a good pack and the engine took.
void learn_pack(DeviceLoad& on, const ScheduledPack& pack, double prepare_us, double engine_us) noexcept;

}  // namespace navit_edge
