#include "session/engine_host.h"

#include <exception>
#include <utility>

#include "base/core_list.h"
#include "engine/report_text.h"
#include "navit_edge/error.h"

namespace navit_edge {

void Turns::lock() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !taken_ || refused_ != nullptr; });
  if (refused_ != nullptr) std::rethrow_exception(refused_);
  taken_ = true;
}

void Turns::unlock() noexcept {
  const std::lock_guard lock(mutex_);
  taken_ = false;
  changed_.notify_one();
}

void Turns::refuse(const std::exception_ptr& error) noexcept {
  const std::lock_guard lock(mutex_);
  refused_ = error;
  changed_.notify_all();
}

namespace {

EngineSet opened(SessionContext& context, const DeviceSpec& device, const SessionOptions& options) {
  try {
    const CoreBinding binding(device.cores);
    return open_engines(context.manifest, context.choice, options);
  } catch (const Error& e) {
    if (device.name.empty()) throw;
    throw_error(e.code(), device.prefix() + e.what());
  }
}

}  // namespace

EngineHost::EngineHost(SessionContext& context, const DeviceSpec& device)
    : context_(&context),
      options_(device.applied_to(context.options, context.choice.devices.size())),
      engines_(opened(context, device, options_)),
      slots_(engines_->slots()),
      may_pair_(context.may_pair) {}

int EngineHost::threads() const noexcept { return options_.threads > 0 ? options_.threads : context_->threads; }

EngineSet* EngineHost::paired_set() {
  const std::lock_guard lock(mutex_);
  if (!paired_ && why_not_paired_.empty()) {
    try {
      paired_.emplace(context_->manifest, context_->choice, options_, kPairedSlots);
    } catch (const std::exception& e) {  // no memory among them: one stream goes on
      why_not_paired_ = e.what();
      may_pair_ = false;
    }
  }
  return paired_ ? &*paired_ : nullptr;
}

EngineHost::Place EngineHost::place(bool paired, int slot) {
  if (!context_->may_pair) return {&*engines_, slot};
  if (!paired) return {&*engines_, 0};
  if (EngineSet* const both = paired_set()) return {both, slot};
  return {&*engines_, 0, std::unique_lock(turns_)};
}

std::string EngineHost::report() {
  const std::lock_guard lock(mutex_);
  if (!engines_) return last_report_;
  std::string text = engines_->report();
  if (why_not_paired_.empty()) return text;
  return with_warning(text, "one pack at a time, since two streams did not open: " + why_not_paired_);
}

void EngineHost::let_go() {
  std::string last = "{}";
  try {
    last = report();
  } catch (const Error&) {  // the backend cannot say any more
  }
  const std::lock_guard lock(mutex_);
  last_report_ = std::move(last);
  engines_.reset();
  paired_.reset();
}

}  // namespace navit_edge
