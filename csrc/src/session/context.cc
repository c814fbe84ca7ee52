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
      choice(choose_engine(manifest, options)),
      sizer(manifest, options, choice.engine),
      writer(pack_writer(manifest, choice.engine, sizer)),
      cpu(cpu_limits()),
      threads(options.threads > 0 ? options.threads : cpu.cores()),
      limits(plan_limits(manifest, choice.engine, options.strategy)),
      on_cpu(choice.engine.device == DeviceKind::kCpu),
      may_pair(options.slots == 0 && choice.engine.dynamic_tokens && threads >= kPairedSlots &&
               choice.devices.size() == 1) {}

double SessionContext::size_image(const ImageView& image, std::uint64_t index, const Policy& policy, const Load& load,
                                  Result& result) const {
  check_image(image, "image " + std::to_string(index), sizer.preprocess());
  return sizer.size(static_cast<std::size_t>(index), result, policy, load, &image);
}

}  // namespace navit_edge
