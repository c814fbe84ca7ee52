// The devices of a session: engines, faults and counts of each.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <string>
#include <vector>

#include "engine/device_list.h"
#include "navit_edge/metrics.h"
#include "session/circuit_breaker.h"
#include "session/context.h"
#include "session/engine_host.h"
#include "session/scheduled_pack.h"
#include "session/slot_gate.h"

namespace navit_edge {

/// What the session has of one device; the scheduler has its DeviceLoad.
struct Device {
  Device(SessionContext& context, const DeviceSpec& named) : spec(&named), host(context, named) {}

  /// A pack has ended; `good`: with results, and the device was busy with it for so long.
  void count(const ScheduledPack& pack, bool good, double busy_us = 0) noexcept;

  const DeviceSpec* spec;
  EngineHost host;
  std::size_t index = 0;
  int first_slot = 0;  // of the session's

  // Guarded by the session's mutex.
  std::condition_variable work;  // its idle workers wait
  std::size_t idle_workers = 0;
  CircuitBreaker breaker;  // broken: the device is lost
  bool stalled = false;    // a thread is in its engine that never came back
  DeviceMetrics counts;    // but for `slots`
};

/// All of them, opened in the order of their names. Their number never changes.
class Devices {
 public:
  /// Opens the engines of all. Borrows `context`. Throws BackendError, BundleError, InvalidInput.
  explicit Devices(SessionContext& context);

  [[nodiscard]] std::size_t size() const noexcept { return all_.size(); }
  [[nodiscard]] Device& operator[](std::size_t index) noexcept { return all_[index]; }
  [[nodiscard]] auto begin() noexcept { return all_.begin(); }
  [[nodiscard]] auto end() noexcept { return all_.end(); }

  /// Packs that may be in flight at once.
  [[nodiscard]] int slots() const noexcept;
  /// What the scheduler must know of each.
  [[nodiscard]] std::vector<SlotRules> rules(const SessionContext& context) const;
  /// What the engines say of themselves, or said last.
  [[nodiscard]] std::string report();
  /// No pack waits for its turn any more.
  void refuse_turns(const std::exception_ptr& error) noexcept;
  /// Gives back what the engines hold, but for those that never came back.
  void let_go();

  // With the session's mutex held.
  /// Why all are lost.
  [[nodiscard]] std::string why_lost() const;
  [[nodiscard]] std::vector<DeviceMetrics> metrics() const;

 private:
  std::deque<Device> all_;
};

}  // namespace navit_edge
