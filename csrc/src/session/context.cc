#include "session/context.h"

#include <string>
#include <utility>

#include "bundle/graph_check.h"
#include "navit_edge/option_range.h"
#include "pack/shape_quantum.h"
#include "pixels/image_check.h"

namespace navit_edge {
namespace {

SessionOptions checked(SessionOptions options) {
  check_option("threads", options.threads);
  check_option("slots", options.slots);
  check_option("max_tokens_per_image", options.max_tokens_per_image);
  check_option("queue_limit", static_cast<double>(options.queue_limit));
  check_option("queue_bytes", static_cast<double>(options.queue_bytes));
  check_option("cache_bytes", static_cast<double>(options.cache_bytes));
  check_option("max_memory_bytes", static_cast<double>(options.max_memory_bytes));
  check_option("aging_us", options.aging_us);
  check_option("batch_wait_us", options.batch_wait_us);
  check_option("stall_timeout_s", options.stall_timeout_s);
  return options;
}

PackWriter pack_writer(const Manifest& manifest, const EngineSpec& engine, const Sizer& sizer) {
  const GraphSpec& graph = manifest.graph(engine.graph);
  check_graph(graph, sizer.preprocess());
  return PackWriter(
      {sizer.preprocess(), manifest.model, graph, engine.budgets, engine.dynamic_tokens, shape_quantum(engine)});
}

PlanLimits plan_limits(const Manifest& manifest, const EngineSpec& engine, Strategy strategy) {
  PlanLimits limits;
  limits.budgets = engine.budgets;
  limits.strategy = strategy;
  limits.base = engine.strategy;
  limits.cost = cost_model(manifest, engine);
  return limits;
}

}  // namespace

SessionContext::SessionContext(const std::filesystem::path& bundle, SessionOptions session_options)
    : options(checked(std::move(session_options))),
      manifest(Manifest::load(bundle)),
      process(Process::now()),
      choice(choose_engine(manifest, options)),
      memory(keep_under(manifest, choice, options, process)),
      sizer(manifest, options, choice.engine),
      writer(pack_writer(manifest, choice.engine, sizer)),
      cpu(cpu_limits()),
      threads(options.threads > 0 ? options.threads : cpu.cores()),
      limits(plan_limits(manifest, choice.engine, options.strategy)),
      on_cpu(choice.engine.device == DeviceKind::kCpu),
      finds_blank_in_packs(choice.engine.dynamic_tokens),
      may_pair(pairs(choice, options)) {}

double SessionContext::size_image(const ImageView& image, std::uint64_t index, const Policy& policy, const Load& load,
                                  Result& result) const {
  check_image(image, "image " + std::to_string(index), sizer.preprocess());
  const double expected_us = sizer.size(static_cast<std::size_t>(index), result, policy, load, &image);
  const DropOptions& drop = policy.drop_options();
  if (drop.kind == DropKind::kBlank && !finds_blank_in_packs) {
    result.kept = patches_that_are_not_blank(image, result.grid, sizer.preprocess(), drop.range);
    result.tokens = result.total_tokens = static_cast<std::int32_t>(result.patches()) + manifest.model.prefix_tokens;
    result.reason.kept_patches = result.patches();
  }
  return expected_us;
}

}  // namespace navit_edge
