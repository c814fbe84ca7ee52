#include "session/pack_runner.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/unpack.h"

namespace navit_edge {
namespace {

bool all_finite(const OutputView& view) {
  const std::int64_t count = view.count();
  std::uint32_t bad = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, view.data + i, sizeof(bits));
    bad |= static_cast<std::uint32_t>((bits & 0x7f800000U) == 0x7f800000U);
  }
  return bad == 0;
}

/// The name of an output that holds NaN or infinity; empty if none does. Those with many rows only if `all`.
std::string_view not_finite(const Result& result, bool all) {
  for (std::size_t i = 0; i < kWords<GraphOutput>.words.size(); ++i) {
    const auto kind = value_at<GraphOutput>(i);
    const bool small = kind == GraphOutput::kLogits || kind == GraphOutput::kEmbedding;
    if ((small || all) && !all_finite(result.output(kind))) return word_of(kind);
  }
  return {};
}

/// The cause in its class, and in front of it which pack failed.
std::exception_ptr named(const ScheduledPack& pack, const std::exception_ptr& cause) noexcept try {
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
    throw_error(code, pack.description() + " failed: " + what);
  } catch (...) {
    return std::current_exception();
  }
} catch (...) {  // no memory for the words
  return std::current_exception();
}

}  // namespace

/// What is left out of its images; empty: nothing of any.
std::span<const Dropping> PackRunner::drops_of(const ScheduledPack& pack) {
  drops_.clear();
  for (const std::int32_t image : pack.plan->images) {
    const Result& result = pack.results[static_cast<std::size_t>(image)];
    if (result.reason.drop.kind == DropKind::kNone) continue;
    drops_.resize(pack.images.size());
    Dropping& drop = drops_[static_cast<std::size_t>(image)];
    drop.kept = result.kept;
    if (drop.kept == nullptr && result.reason.drop.kind == DropKind::kBlank)
      drop.blank_range = result.reason.drop.range;
  }
  return drops_;
}

void PackRunner::write(const ScheduledPack& pack, EngineHost& host, EngineHost::Place& place) noexcept {
  error_ = nullptr;
  outcome_ = Outcome::kNone;
  try {
    place = host.place(pack.paired, pack.slot);
    start_ = Clock::now();
    outputs_.reset();  // of a pack that failed
    const PackPlan& plan = *pack.plan;
    const auto budget_index = static_cast<std::size_t>(plan.budget);
    const Budget& budget = context_->choice.engine.budgets[budget_index];
    on_ = place.engines;
    budget_ = plan.budget;
    slot_ = place.slot;
    pack_ = &on_->pack(budget_, slot_);
    report_.engine_us = report_.unpack_us = report_.start_us = 0;
    report_.images = static_cast<std::int32_t>(plan.images.size());
    report_.tokens = plan.tokens;
    report_.budget_tokens = budget.tokens;
    report_.predicted_us = plan.predicted_us;
    report_.slot = slot_;
    report_.device = static_cast<std::int32_t>(pack.device);
    report_.engine = on_->id_of(budget_);
    context_->writer.write_checked(plan, pack.images, pack.grids, pack.threads, *pack_, drops_of(pack));
    report_.capacity = pack_->tokens;
    if (pack_->used_tokens < plan.tokens) {  // blank patches have gone
      report_.tokens = pack_->used_tokens;
      PackShape shape;
      for (const Segment& segment : pack_->segments) {
        shape = shape.with(segment.patches() + context_->manifest.model.prefix_tokens);
      }
      const double planned_us = context_->limits.cost.pack_us(budget_index, budget.tokens, plan.shape());
      if (planned_us > 0) {
        report_.predicted_us *= context_->limits.cost.pack_us(budget_index, budget.tokens, shape) / planned_us;
      }
    }
    report_.preprocess_us = microseconds_since(start_);
  } catch (...) {
    error_ = std::current_exception();
  }
}

void PackRunner::run() noexcept {
  try {
    outputs_.emplace(on_->outputs(*pack_));
    on_->run(budget_, slot_, outputs_->tensors());
    report_.engine_us = microseconds_since(start_) - report_.preprocess_us;
  } catch (...) {
    error_ = std::current_exception();
    outcome_ = Outcome::kBad;
  }
}

/// Says how many images got an error.
std::size_t PackRunner::unpack(const ScheduledPack& pack) {
  navit_edge::unpack(*pack_, outputs_->shared(), context_->manifest.model, pack.results);
  outputs_.reset();  // the results hold them from here on
  const Clock::time_point now = Clock::now();
  std::size_t failed = 0;
  for (const std::int32_t image : pack.plan->images) {
    Result& result = pack.results[static_cast<std::size_t>(image)];
    result.pack = static_cast<std::int32_t>(pack.index & 0x7fffffffU);
    if (result.reason.drop.kind != DropKind::kNone) {
      const std::int32_t before = std::exchange(
          result.tokens, static_cast<std::int32_t>(result.patches()) + context_->manifest.model.prefix_tokens);
      result.total_tokens -= before - result.tokens;
      result.reason.kept_patches = result.patches();
    }
    result.latency_us = latency_us();
    if (pack.job != nullptr) result.queue_us = microseconds(start_ - pack.job->start);
    const ScheduledPack::Image given = pack.image(static_cast<std::size_t>(image));
    given.promise->judge(result, given.submitted, now);
    const std::string_view bad = not_finite(result, context_->on_cpu);
    if (bad.empty()) continue;
    ++failed;
    result.drop_outputs();
    result.error = std::make_exception_ptr(BackendError(
        "engine " + report_.engine + " gave NaN or infinity in the " + std::string(bad) + " of this image, in " +
        pack.name() + "; expected finite numbers; check it with `navit-edge verify`, or use an engine of " +
        "another precision"));
  }
  report_.unpack_us = microseconds_since(start_) - latency_us();
  return failed;
}

void PackRunner::finish(const ScheduledPack& pack) noexcept {
  if (error_ == nullptr) {
    try {
      outcome_ = unpack(pack) < pack.plan->images.size() ? Outcome::kGood : Outcome::kBad;
    } catch (...) {
      error_ = std::current_exception();
      outcome_ = Outcome::kBad;
    }
  }
  if (error_ != nullptr) fail(pack, error_ = named(pack, error_));
}

void PackRunner::give_up(const ScheduledPack& pack) noexcept {
  error_ = named(pack, error_);
  outputs_.reset();
}

void PackRunner::fail(const ScheduledPack& pack, const std::exception_ptr& error) noexcept {
  for (const std::int32_t image : pack.plan->images) {
    Result& result = pack.results[static_cast<std::size_t>(image)];
    result.drop_outputs();
    result.error = error;
  }
}

}  // namespace navit_edge
