#include "room/opened.h"

#include <cmath>
#include <string>
#include <utility>

#include "graph_check.h"
#include "navit_edge/error.h"
#include "shape_quantum.h"
#include "thread_pool.h"

namespace navit_edge {
namespace {

SessionOptions checked(SessionOptions options) {
  if (options.queue_limit < 1) throw InvalidInput("queue_limit is 0; expected at least 1 waiting image");
  if (!(options.batch_wait_us >= 0)) {
    throw InvalidInput("batch_wait_us is " + std::to_string(options.batch_wait_us) +
                       "; expected microseconds, 0 and up; 0 does not wait");
  }
  if (!(options.stall_timeout_s >= 0)) {
    throw InvalidInput("stall_timeout_s is " + std::to_string(options.stall_timeout_s) +
                       "; expected seconds, 0 and up; 0 waits for ever");
  }
  return options;
}

const GraphSpec& checked(const GraphSpec& graph, const PreprocessSpec& preprocess) {
  check_graph(graph, preprocess);
  return graph;
}

PlanLimits plan_limits(const Manifest& manifest, const EngineSpec& engine, const std::string& strategy) {
  PlanLimits limits;
  limits.budgets = engine.budgets;
  limits.strategy = parse_strategy(strategy);
  limits.base = parse_strategy(engine.strategy);
  limits.cost = cost_model(manifest, engine);
  return limits;
}

}  // namespace

Opened::Opened(const std::filesystem::path& bundle, SessionOptions session_options)
    : options(checked(std::move(session_options))),
      manifest(Manifest::load(bundle)),
      choice(choose_engine(manifest, options)),
      sizer(manifest, options, choice.engine),
      graph(checked(manifest.graph(choice.engine.graph), sizer.preprocess())),
      quantum(shape_quantum(choice.engine)),
      threads(options.threads > 0 ? options.threads : usable_cores()),
      limits(plan_limits(manifest, choice.engine, options.strategy)),
      on_cpu(runs_on_cpu(choice.engine)),
      may_pair(options.slots == 0 && choice.engine.dynamic_tokens && threads >= kPairedSlots) {}

}  // namespace navit_edge
