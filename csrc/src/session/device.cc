#include "session/device.h"

#include "engine/report_text.h"

namespace navit_edge {

void Device::count(const ScheduledPack& pack, bool good, double busy_us) noexcept {
  --counts.in_flight;
  ++(good ? counts.packs : counts.packs_failed);
  if (!good) return;
  counts.images += pack.plan->images.size();
  counts.tokens += static_cast<std::uint64_t>(pack.plan->tokens);
  counts.busy_s += busy_us / 1e6;
}

Devices::Devices(SessionContext& context) {
  int first_slot = 0;
  for (const DeviceSpec& spec : context.choice.devices) {
    Device& device = all_.emplace_back(context, spec);
    device.index = all_.size() - 1;
    device.first_slot = first_slot;
    device.counts.name = spec.name.empty() ? std::string(word_of(context.choice.engine.device)) : spec.name;
    device.counts.device = spec.words;
    first_slot += device.host.slots();
  }
}

int Devices::slots() const noexcept {
  int slots = 0;
  for (const Device& device : all_) slots += device.host.slots();
  return slots;
}

std::vector<SlotRules> Devices::rules(const SessionContext& context) const {
  std::vector<SlotRules> rules;
  for (const Device& device : all_) {
    rules.push_back({device.host.slots(), context.may_pair, context.on_cpu, device.host.threads()});
  }
  return rules;
}

std::string Devices::report() {
  if (all_.size() == 1) return all_.front().host.report();
  std::vector<EngineReport> reports;
  for (Device& device : all_) reports.push_back({device.counts.name, device.host.report()});
  return report_of_all("devices", reports);
}

void Devices::refuse_turns(const std::exception_ptr& error) noexcept {
  for (Device& device : all_) device.host.refuse_turns(error);
}

void Devices::let_go() {
  for (Device& device : all_) {
    if (!device.stalled) device.host.let_go();
  }
}

std::string Devices::why_lost() const {
  if (all_.size() == 1) return all_.front().breaker.why();
  std::string why = "all " + std::to_string(all_.size()) + " devices are lost";
  for (const Device& device : all_) {
    why += (&device == &all_.front() ? ": " : "; ") + device.counts.name + ": " + device.breaker.why();
  }
  return why;
}

std::vector<DeviceMetrics> Devices::metrics() const {
  std::vector<DeviceMetrics> all;
  for (const Device& device : all_) {
    DeviceMetrics& one = all.emplace_back(device.counts);
    one.slots = device.host.slots();
    one.lost = device.breaker.why();
  }
  return all;
}

}  // namespace navit_edge
