#include "navit_edge/session.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <optional>

#include "engine_choice.h"
#include "engine_set.h"
#include "graph_check.h"
#include "image_check.h"
#include "navit_edge/error.h"
#include "navit_edge/pack.h"
#include "navit_edge/plan.h"
#include "schedule.h"
#include "sizer.h"
#include "thread_pool.h"

namespace navit_edge {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

/// Limits of every plan of a session; deadlines and streams apart.
PlanLimits plan_limits(const Manifest& manifest, const EngineSpec& engine, const std::string& strategy) {
  PlanLimits limits;
  limits.budgets = engine.budgets;
  limits.strategy = parse_strategy(strategy);
  limits.base = parse_strategy(engine.strategy);
  limits.cost = cost_model(manifest, engine);
  return limits;
}

const GraphSpec& checked(const GraphSpec& graph, const PreprocessSpec& preprocess) {
  check_graph(graph, preprocess);
  return graph;
}

/// Empty outputs of the shapes that `pack` gives.
std::vector<HostTensor> outputs_for(const GraphSpec& graph, const Pack& pack) {
  std::vector<HostTensor> outputs;
  outputs.reserve(graph.outputs.size());
  for (const TensorSpec& spec : graph.outputs) {
    std::vector<std::int64_t> shape;
    for (const Dim& dim : spec.shape) {
      shape.push_back(dim.symbol == 'T'   ? pack.tokens
                      : dim.symbol == 'N' ? pack.images
                      : dim.symbol == 'L' ? pack.longest
                                          : dim.extent);
    }
    outputs.emplace_back(spec.name, spec.dtype);
    outputs.back().resize(shape);
  }
  return outputs;
}

}  // namespace

struct Session::Impl {
  /// Everything one run needs besides the session.
  struct Run {
    Clock::time_point start;
    std::span<const ImageView> images;
    std::vector<Grid> grids;          // [images], valid where the result has no error
    std::vector<PackPlan> plans;      // image indices are the caller's
    double predicted_us = 0;          // of all plans
    std::vector<Result> results;      // [images]
    std::vector<PackReport> reports;  // [plans]
    std::atomic<std::int32_t> in_flight{0};
    std::atomic<std::int32_t> most_in_flight{0};
  };

  Impl(const std::filesystem::path& bundle, SessionOptions o)
      : options(std::move(o)),
        manifest(Manifest::load(bundle)),
        choice(choose_engine(manifest, options)),
        sizer(manifest, options, choice.engine),
        graph(checked(manifest.graph(choice.engine.graph), sizer.preprocess())),
        threads(options.threads > 0 ? options.threads : usable_cores()),
        limits(plan_limits(manifest, choice.engine, options.strategy)),
        engines(open_engines(manifest, choice, options)) {
    limits.streams = choice.engine.dynamic_tokens && slots() >= 2 ? 2 : 1;
  }

  /// Whether streams are for the session to choose: a CPU computes one pack on all its cores, or two on half of them.
  [[nodiscard]] bool may_pair() const {
    return options.slots == 0 && choice.engine.dynamic_tokens && threads >= kPairedSlots;
  }
  [[nodiscard]] int slots() const { return may_pair() ? kPairedSlots : engines.slots(); }

  /// Grids and plans of the images that can run; the results of the others get their error.
  void plan(Run& run, const Policy& policy) const {
    const Load load{0, static_cast<std::int32_t>(run.images.size())};
    std::vector<std::int32_t> token_counts;
    std::vector<std::int32_t> image_of;  // index among the runnable -> index among all
    run.grids.resize(run.images.size());
    run.results.resize(run.images.size());
    for (std::size_t i = 0; i < run.images.size(); ++i) {
      Result& result = run.results[i];
      result.image = run.images[i].size();
      try {
        check_image(run.images[i], "image " + std::to_string(i), sizer.preprocess().alpha);
        sizer.size(i, result, policy, load, &run.images[i]);
        run.grids[i] = result.grid;
        token_counts.push_back(result.tokens);
        image_of.push_back(static_cast<std::int32_t>(i));
      } catch (const Error&) {
        result.error = std::current_exception();
      }
    }
    Plan plan = plan_packs(token_counts, limits);
    run.plans = std::move(plan.packs);
    run.predicted_us = plan.predicted_us;
    for (PackPlan& pack : run.plans) {
      for (std::int32_t& image : pack.images) image = image_of[static_cast<std::size_t>(image)];
    }
    run.reports.resize(run.plans.size());
  }

  /// Pack, engine, unpack. Touches only the results of this pack's images. `lock` is released once the pack is written.
  void run_pack(Run& run, std::size_t index, EngineSet& on, int slot, int pack_threads,
                std::unique_lock<std::mutex>& lock) {
    const PackPlan& plan = run.plans[index];
    const Budget& budget = choice.engine.budgets[static_cast<std::size_t>(plan.budget)];
    Pack& pack = on.pack(plan.budget, slot);
    try {
      const auto start = Clock::now();
      write_pack(plan, run.images, run.grids, sizer.preprocess(), manifest.model, graph, budget,
                 choice.engine.dynamic_tokens, pack_threads, pack);
      const double preprocess_us = microseconds_since(start);
      if (lock.owns_lock()) lock.unlock();
      std::vector<HostTensor> outputs = outputs_for(graph, pack);
      on.run(plan.budget, slot, outputs);
      const double latency_us = microseconds_since(start);

      std::vector<std::shared_ptr<const HostTensor>> shared;
      shared.reserve(outputs.size());
      for (HostTensor& output : outputs) shared.push_back(std::make_shared<const HostTensor>(std::move(output)));
      unpack(pack, shared, manifest.model, run.results);
      const double unpack_us = microseconds_since(start) - latency_us;
      for (const Segment& segment : pack.segments) {
        Result& result = run.results[static_cast<std::size_t>(segment.image)];
        result.pack = static_cast<std::int32_t>(index);
        result.latency_us = latency_us;
      }
      run.reports[index] = {static_cast<std::int32_t>(plan.images.size()),
                            pack.used_tokens,
                            pack.tokens,
                            budget.tokens,
                            std::chrono::duration<double, std::micro>(start - run.start).count(),
                            preprocess_us,
                            latency_us - preprocess_us,
                            unpack_us,
                            slot,
                            on.id_of(plan.budget)};
    } catch (const std::exception& e) {
      const auto* error = dynamic_cast<const Error*>(&e);
      throw_error(error != nullptr ? error->code() : ErrorCode::kBackend,
                  "pack " + std::to_string(index) + " of " + std::to_string(run.plans.size()) + " (" +
                      std::to_string(plan.images.size()) + " images, " + std::to_string(plan.tokens) +
                      " tokens) failed: " + e.what());
    }
  }

  /// Packs [begin, end), each on the slot of `on` that is free first. After a failure the packs in flight on other
  /// slots are waited for, no further pack starts, and the first cause is thrown.
  ///
  /// A CPU shares its cores between the slots, a core of preprocessing each. An accelerator leaves them free: packs are
  /// preprocessed one after the other with all threads, so that the first is on its way soonest, while others run.
  void run_packs(Run& run, std::size_t begin, std::size_t end, EngineSet& on) {
    const std::size_t lanes = std::min(static_cast<std::size_t>(on.slots()), end - begin);
    const bool share = lanes > 1 && runs_on_cpu(choice.engine);
    std::mutex preprocessing;
    std::size_t next = begin;  // guarded by preprocessing
    std::atomic<bool> failed{false};
    std::exception_ptr cause;
    side_by_side(lanes, [&](std::size_t slot) {
      for (;;) {
        std::unique_lock lock(preprocessing);
        if (failed.load() || next >= end) return;
        const std::size_t index = next++;
        if (share) lock.unlock();
        const std::int32_t flying = ++run.in_flight;
        std::int32_t most = run.most_in_flight.load();
        while (most < flying && !run.most_in_flight.compare_exchange_weak(most, flying)) {
        }
        try {
          run_pack(run, index, on, static_cast<int>(slot), share ? 1 : threads, lock);
        } catch (...) {
          if (!failed.exchange(true)) cause = std::current_exception();
        }
        --run.in_flight;
      }
    });
    if (cause != nullptr) std::rethrow_exception(cause);
  }

  /// On all slots; where streams are the session's to choose, on two while two packs wait, then one by one.
  void execute(Run& run) {
    std::size_t paired_packs = 0;
    if (may_pair() && run.plans.size() >= 2) {
      std::vector<std::int32_t> tokens;
      for (const PackPlan& plan : run.plans) tokens.push_back(plan.tokens);
      paired_packs = packs_on_two_streams(tokens);
    }
    if (paired_packs > 0) {
      if (!paired) paired.emplace(manifest, choice, options, kPairedSlots);
      run_packs(run, 0, paired_packs, *paired);
    }
    run_packs(run, paired_packs, run.plans.size(), engines);
  }

  static constexpr int kPairedSlots = 2;

  SessionOptions options;
  Manifest manifest;
  EngineChoice choice;
  Sizer sizer;
  GraphSpec graph;
  int threads;
  PlanLimits limits;
  EngineSet engines;
  std::optional<EngineSet> paired;  // kPairedSlots slots; opened when two packs first wait at once
  std::mutex turn;
};

Session::Session(const std::filesystem::path& bundle, SessionOptions options)
    : impl_(std::make_unique<Impl>(bundle, std::move(options))) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Result> Session::run(std::span<const ImageView> images, RunReport* report, const RunOptions& options) {
  if (images.empty()) throw InvalidInput("the list of images is empty; expected at least one image");
  const auto start = Clock::now();
  Impl::Run run;
  run.start = start;
  run.images = images;
  impl_->plan(run, options.policy.value_or(impl_->sizer.policy()));
  const double plan_us = microseconds_since(start);
  {
    const std::lock_guard lock(impl_->turn);
    impl_->execute(run);
  }
  if (report != nullptr) {
    report->packs = std::move(run.reports);
    report->most_in_flight = run.most_in_flight;
    for (std::size_t i = 0; i < run.plans.size(); ++i) report->packs[i].predicted_us = run.plans[i].predicted_us;
    report->predicted_us = run.predicted_us;
    report->cost_measured = impl_->limits.cost.measured;
    report->plan_us = plan_us;
    report->total_us = microseconds_since(start);
  }
  return std::move(run.results);
}

const Manifest& Session::manifest() const noexcept { return impl_->manifest; }
const EngineSpec& Session::engine() const noexcept { return impl_->choice.engine; }
int Session::slots() const noexcept { return impl_->slots(); }
const std::vector<Candidate>& Session::candidates() const noexcept { return impl_->choice.candidates; }
std::string Session::device() const { return impl_->choice.probe.device; }
std::string Session::engine_report() const { return impl_->engines.report(); }

}  // namespace navit_edge
