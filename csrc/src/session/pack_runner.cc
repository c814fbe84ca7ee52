#include "session/pack_runner.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/unpack.h"

namespace navit_edge {
namespace {

bool all_finite(const OutputView& view) {
  const std::int64_t count = view.rows * view.cols;
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, view.data + i, sizeof(bits));
    bad |= static_cast<std::uint32_t>((bits & 0x7f800000U) == 0x7f800000U);
  }
  return bad == 0;
}

}  // namespace

std::string PackTask::name() const {
  return "pack " + std::to_string(number) + (of > 0 ? " of " + std::to_string(of) : "");
}

void PackWork::write(const PackTask& task, EngineSet& on, int slot, int threads) {
  start_ = Clock::now();
  outputs_.reset();  // of a pack that failed
  const PackPlan& plan = *task.plan;
  const Budget& budget = opened_->choice.engine.budgets[static_cast<std::size_t>(plan.budget)];
  on_ = &on;
  budget_ = plan.budget;
  slot_ = slot;
  pack_ = &on.pack(plan.budget, slot);
  report_.engine_us = report_.unpack_us = report_.start_us = 0;
  report_.images = static_cast<std::int32_t>(plan.images.size());
  report_.tokens = plan.tokens;
  report_.budget_tokens = budget.tokens;
  report_.predicted_us = plan.predicted_us;
  report_.slot = slot;
  report_.engine = on.id_of(plan.budget);
  opened_->writer.write_checked(plan, task.images, task.grids, threads, *pack_);
  report_.capacity = pack_->tokens;
  report_.preprocess_us = microseconds_since(start_);
}

void PackWork::run() {
  outputs_.emplace(on_->outputs(*pack_));
  on_->run(budget_, slot_, outputs_->tensors());
  report_.engine_us = microseconds_since(start_) - report_.preprocess_us;
}

std::size_t PackWork::unpack(const PackTask& task) {
  navit_edge::unpack(*pack_, outputs_->shared(), opened_->manifest.model, task.results);
  outputs_.reset();  // the results hold them from here on
  std::size_t failed = 0;
  for (const std::int32_t image : task.plan->images) {
    Result& result = task.results[static_cast<std::size_t>(image)];
    result.pack = static_cast<std::int32_t>(task.number & 0x7fffffffU);
    result.latency_us = latency_us();
    const char* bad = !all_finite(result.logits)                              ? "logits"
                      : !all_finite(result.embedding)                         ? "embedding"
                      : opened_->on_cpu && !all_finite(result.token_features) ? "tokens"
                                                                              : nullptr;
    if (bad == nullptr) continue;
    ++failed;
    result.logits = result.embedding = result.token_features = {};
    result.error = std::make_exception_ptr(BackendError(
        "engine " + report_.engine + " gave NaN or infinity in the " + bad + " of this image, in " + task.name() +
        "; expected finite numbers; check it with `navit-edge verify`, or use an engine of " + "another precision"));
  }
  report_.unpack_us = microseconds_since(start_) - latency_us();
  return failed;
}

void PackWork::fail(const PackTask& task, const std::exception_ptr& error) {
  for (const std::int32_t image : task.plan->images) {
    Result& result = task.results[static_cast<std::size_t>(image)];
    result.logits = result.embedding = result.token_features = {};
    result.error = error;
  }
}

std::exception_ptr PackWork::named(const PackTask& task, const std::exception_ptr& cause) noexcept try {
  ErrorCode code = ErrorCode::kBackend;
  std::string what = "something was thrown that is no std::exception";
  try {
    std::rethrow_exception(cause);
  } catch (const Error& e) {
    code = e.code();
    what = e.what();
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  try {
    throw_error(code, task.name() + " (" + std::to_string(task.plan->images.size()) + " images, " +
                          std::to_string(task.plan->tokens) + " tokens) failed: " + what);
  } catch (...) {
    return std::current_exception();
  }
} catch (...) {  // no memory for the words
  return std::current_exception();
}

}  // namespace navit_edge
