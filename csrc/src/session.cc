#include "navit_edge/session.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>

#include "engine_choice.h"
#include "graph_check.h"
#include "image_check.h"
#include "navit_edge/error.h"
#include "navit_edge/pack.h"
#include "navit_edge/plan.h"
#include "plan_detail.h"
#include "schedule.h"
#include "thread_pool.h"

namespace navit_edge {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

/// The bundle's preprocessing with the caller's cap on tokens.
PreprocessSpec capped(PreprocessSpec preprocess, std::int32_t max_tokens) {
  if (max_tokens < 0) {
    throw InvalidInput("max_tokens_per_image is " + std::to_string(max_tokens) +
                       "; expected at least 1, or 0 for the bundle's own cap");
  }
  if (max_tokens > 0) {
    SizingSpec& sizing = preprocess.sizing;
    sizing.max_tokens = sizing.rule == "token-cap" ? std::min(sizing.max_tokens, max_tokens) : max_tokens;
    sizing.rule = "token-cap";
  }
  return preprocess;
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
    std::span<const ImageView> images;
    std::vector<Grid> grids;          // [images], valid where the result has no error
    std::vector<PackPlan> plans;      // image indices are the caller's
    std::vector<Result> results;      // [images]
    std::vector<PackReport> reports;  // [plans]
  };

  Impl(const std::filesystem::path& bundle, SessionOptions o)
      : options(std::move(o)),
        manifest(Manifest::load(bundle)),
        preprocess(capped(manifest.preprocess, options.max_tokens_per_image)),
        choice(choose_engine(manifest, options)),
        graph(checked(manifest.graph(choice.engine.graph), preprocess)),
        strategy(parse_strategy(choice.engine.strategy)),
        threads(options.threads > 0 ? options.threads : usable_cores()),
        engine(open_engine(1)) {}

  Engine open_engine(int slots) const {
    EngineOptions engine_options;
    engine_options.slots = slots;
    engine_options.threads = options.threads;
    engine_options.backend = options.backend;
    return {*choice.backend, manifest, choice.engine, engine_options};
  }

  /// Grids and plans of the images that can run; the results of the others get their error.
  void plan(Run& run) const {
    const std::vector<Budget>& budgets = choice.engine.budgets;
    std::vector<std::int32_t> token_counts;
    std::vector<std::int32_t> image_of;  // index among the runnable -> index among all
    run.grids.resize(run.images.size());
    run.results.resize(run.images.size());
    for (std::size_t i = 0; i < run.images.size(); ++i) {
      Result& result = run.results[i];
      result.image = run.images[i].size();
      try {
        check_image(run.images[i], "image " + std::to_string(i), preprocess.alpha);
        run.grids[i] = resize_target(run.images[i].size(), preprocess);
        const std::int64_t tokens = run.grids[i].tokens() + manifest.model.prefix_tokens;
        if (tokens > budgets.back().tokens) throw OverBudget(over_budget_message(i, tokens, budgets));
        result.grid = run.grids[i];
        result.tokens = static_cast<std::int32_t>(tokens);
        token_counts.push_back(result.tokens);
        image_of.push_back(static_cast<std::int32_t>(i));
      } catch (const Error&) {
        result.error = std::current_exception();
      }
    }
    run.plans = plan_packs(token_counts, {budgets, strategy});
    for (PackPlan& pack : run.plans) {
      for (std::int32_t& image : pack.images) image = image_of[static_cast<std::size_t>(image)];
    }
    run.reports.resize(run.plans.size());
  }

  /// Pack, engine, unpack. Touches only the results of this pack's images.
  void run_pack(Run& run, std::size_t index, Engine& on, int slot, int pack_threads, Pack& pack) const {
    const PackPlan& plan = run.plans[index];
    const Budget& budget = choice.engine.budgets[static_cast<std::size_t>(plan.budget)];
    try {
      const auto start = Clock::now();
      write_pack(plan, run.images, run.grids, preprocess, manifest.model, graph, budget, choice.engine.dynamic_tokens,
                 pack_threads, pack);
      const double preprocess_us = microseconds_since(start);
      std::vector<HostTensor> outputs = outputs_for(graph, pack);
      on.run(slot, pack.inputs, outputs);
      const double latency_us = microseconds_since(start);

      std::vector<std::shared_ptr<const HostTensor>> shared;
      shared.reserve(outputs.size());
      for (HostTensor& output : outputs) shared.push_back(std::make_shared<const HostTensor>(std::move(output)));
      unpack(pack, shared, manifest.model, run.results);
      for (const Segment& segment : pack.segments) {
        Result& result = run.results[static_cast<std::size_t>(segment.image)];
        result.pack = static_cast<std::int32_t>(index);
        result.latency_us = latency_us;
      }
      run.reports[index] = {static_cast<std::int32_t>(plan.images.size()),
                            pack.used_tokens,
                            pack.tokens,
                            budget.tokens,
                            preprocess_us,
                            latency_us - preprocess_us};
    } catch (const std::exception& e) {
      const auto* error = dynamic_cast<const Error*>(&e);
      throw_error(error != nullptr ? error->code() : ErrorCode::kBackend,
                  "pack " + std::to_string(index) + " of " + std::to_string(run.plans.size()) + " (" +
                      std::to_string(plan.images.size()) + " images, " + std::to_string(plan.tokens) +
                      " tokens) failed: " + e.what());
    }
  }

  /// The first `count` packs, each on the slot that is free first. After a failure the pack in flight on the other slot
  /// is waited for, no further pack starts, and the first cause is thrown.
  void run_paired(Run& run, std::size_t count) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr cause;
    parallel_for(kSlots, kSlots, [&](std::size_t slot) {
      while (!failed.load()) {
        const std::size_t index = next.fetch_add(1);
        if (index >= count) return;
        try {
          run_pack(run, index, *paired_engine, static_cast<int>(slot), 1, packs[slot]);
        } catch (...) {
          if (!failed.exchange(true)) cause = std::current_exception();
          return;
        }
      }
    });
    if (cause != nullptr) std::rethrow_exception(cause);
  }

  /// Two streams while two packs wait, then one by one with all cores.
  void execute(Run& run) {
    std::size_t paired = 0;
    if (choice.engine.dynamic_tokens && threads >= 2 && run.plans.size() >= 2) {
      std::vector<std::int32_t> tokens;
      for (const PackPlan& plan : run.plans) tokens.push_back(plan.tokens);
      paired = packs_on_two_streams(tokens);
    }
    if (paired > 0) {
      if (!paired_engine) paired_engine.emplace(open_engine(kSlots));
      run_paired(run, paired);
    }
    for (std::size_t index = paired; index < run.plans.size(); ++index)
      run_pack(run, index, engine, 0, threads, packs[0]);
  }

  static constexpr int kSlots = 2;

  SessionOptions options;
  Manifest manifest;
  PreprocessSpec preprocess;
  EngineChoice choice;
  GraphSpec graph;
  Strategy strategy;
  int threads;
  Engine engine;                        // one slot, all cores
  std::optional<Engine> paired_engine;  // kSlots slots; opened when two packs first wait at once
  Pack packs[kSlots];                   // buffers, reused from run to run
  std::mutex turn;
};

Session::Session(const std::filesystem::path& bundle, SessionOptions options)
    : impl_(std::make_unique<Impl>(bundle, std::move(options))) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Result> Session::run(std::span<const ImageView> images, RunReport* report) {
  if (images.empty()) throw InvalidInput("the list of images is empty; expected at least one image");
  const auto start = Clock::now();
  Impl::Run run;
  run.images = images;
  impl_->plan(run);
  {
    const std::lock_guard lock(impl_->turn);
    impl_->execute(run);
  }
  if (report != nullptr) {
    report->packs = std::move(run.reports);
    report->total_us = microseconds_since(start);
  }
  return std::move(run.results);
}

const Manifest& Session::manifest() const noexcept { return impl_->manifest; }
const EngineSpec& Session::engine() const noexcept { return impl_->choice.engine; }
const std::vector<Candidate>& Session::candidates() const noexcept { return impl_->choice.candidates; }
std::string Session::device() const { return impl_->choice.probe.device; }

}  // namespace navit_edge
