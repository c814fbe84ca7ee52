#include "session/context.h"

#include <algorithm>
#include <string>
#include <utility>

#include "bundle/graph_check.h"
#include "navit_edge/error.h"
#include "navit_edge/option_range.h"
#include "navit_edge/placement.h"
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
  check_option("decoders", options.decoders);
  check_option("decode_bytes", static_cast<double>(options.decode_bytes));
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

/// Whether the size of an image alone says how large its grid is.
bool may_be_resized(const Policy& policy) {
  if (policy.drop_options().kind == DropKind::kChosen) return false;  // by a function that sees the pixels
  switch (policy.kind()) {
    case Policy::Kind::kLatency:
    case Policy::Kind::kContent:
    case Policy::Kind::kCascade:
      return false;
    default:
      return true;
  }
}

/// Beside an engine on the same cores half of them is enough: the engine takes more for an image than decoding does.
int decoders_of(const SessionOptions& options, const EngineSpec& engine, int threads) {
  if (options.decoders > 0) return options.decoders;
  const int wanted = engine.device == DeviceKind::kCpu ? threads / 2 : threads;
  return std::clamp(wanted, 1, 64);
}

std::string text_of(Size size) { return std::to_string(size.height_px) + " x " + std::to_string(size.width_px); }

/// Of an image that was resized while it was decoded: to just what its grid takes.
void require_resized(const std::string& who, const ImageView& image, const Policy& policy, const Result& result,
                     const PreprocessSpec& preprocess) {
  const Size taken = resized_size(result.image, placement_of(result.image, result.grid, preprocess));
  if (taken == image.size() && may_be_resized(policy)) return;
  throw InvalidInput(who + " was resized to " + text_of(image.size()) +
                     " pixels (height x width), and its grid takes " + text_of(taken) + " of policy " +
                     policy.to_string() + "; expected what Session::resized_size says; give the image as it was");
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
      decoders(decoders_of(options, choice.engine, threads)),
      limits(plan_limits(manifest, choice.engine, options.strategy)),
      on_cpu(choice.engine.device == DeviceKind::kCpu),
      finds_blank_in_packs(choice.engine.dynamic_tokens),
      may_pair(pairs(choice, options)) {}

double SessionContext::size_image(const ImageView& image, std::uint64_t index, const Policy& policy, const Load& load,
                                  Result& result) const {
  const std::string who = "image " + std::to_string(index);
  check_image(image, who, sizer.preprocess());
  const double expected_us = sizer.size(static_cast<std::size_t>(index), result, policy, load, &image);
  const PreprocessSpec& preprocess = sizer.preprocess();
  if (image.image_size() != image.size()) require_resized(who, image, policy, result, preprocess);
  const DropOptions& drop = policy.drop_options();
  if (drop.kind == DropKind::kBlank && !finds_blank_in_packs) {
    result.kept = patches_that_are_not_blank(image, result.grid, preprocess, drop.range);
    result.tokens = result.total_tokens = static_cast<std::int32_t>(result.patches()) + manifest.model.prefix_tokens;
    result.reason.kept_patches = result.patches();
  }
  return expected_us;
}

std::optional<Size> SessionContext::resized_size(Size image, const Policy& policy) const {
  if (!may_be_resized(policy)) return std::nullopt;
  Result result;
  result.image = image;
  try {
    (void)sizer.size(0, result, policy, {}, nullptr);
  } catch (const Error&) {
    return std::nullopt;  // the session says so when it gets the image
  }
  const Placement placement = placement_of(image, result.grid, sizer.preprocess());
  if (!placement.resized) return std::nullopt;
  return navit_edge::resized_size(image, placement);
}

}  // namespace navit_edge
