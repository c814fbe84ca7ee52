#include "session/engine_host.h"

#include <exception>
#include <utility>

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

EngineSet* EngineHost::paired_set() {
  const std::lock_guard lock(mutex_);
  if (!paired_ && why_not_paired_.empty()) {
    try {
      paired_.emplace(context_->manifest, context_->choice, context_->options, kPairedSlots);
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
