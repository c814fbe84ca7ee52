#include "engine_choice.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

/// "cpu", "gpu" or "npu": the kind of device an engine was built for.
std::string_view device_of(const EngineSpec& engine) {
  const std::string_view target = engine.target;
  if (target.starts_with("cpu")) return "cpu";
  return target.starts_with("npu") ? "npu" : "gpu";
}

template <std::size_t n>
void expect_one_of(const char* what, const std::string& value, const std::array<std::string_view, n>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  std::string list;
  for (const std::string_view name : known) list += (list.empty() ? "" : ", ") + std::string(name);
  throw InvalidInput("unknown " + std::string(what) + " '" + value + "'; known: " + list);
}

/// Why `engine` is not what the caller asked for, or nothing.
std::string mismatch(const EngineSpec& engine, const SessionOptions& options) {
  if (options.device != "auto" && device_of(engine) != options.device) {
    return "it runs on " + std::string(device_of(engine)) + "; device " + options.device + " was asked for";
  }
  if (options.precision != "auto" && engine.precision != options.precision) {
    return "its precision is " + engine.precision + "; " + options.precision + " was asked for";
  }
  return {};
}

std::vector<const EngineSpec*> in_order_of_preference(const Manifest& manifest, const SessionOptions& options) {
  if (!options.engine.empty()) return {&manifest.engine(options.engine)};
  std::vector<const EngineSpec*> engines;
  for (const EngineSpec& engine : manifest.engines) engines.push_back(&engine);
  std::stable_partition(engines.begin(), engines.end(),
                        [](const EngineSpec* engine) { return device_of(*engine) != "cpu"; });
  return engines;
}

[[noreturn]] void fail(const Manifest& manifest, const SessionOptions& options,
                       const std::vector<Candidate>& candidates) {
  const std::string build = "`navit-edge build-engine " + manifest.bundle.string() + " --backend openvino`";
  if (candidates.empty()) {
    throw BackendError("the bundle " + manifest.bundle.string() + " holds no engine; build one with " + build);
  }
  std::string message = options.engine.empty()
                            ? "no engine of the bundle " + manifest.bundle.string() + " can run here:"
                            : "the engine that was asked for cannot run here:";
  for (const Candidate& candidate : candidates) message += "\n  " + candidate.engine + ": " + candidate.detail;
  throw BackendError(message + "\nbuild one for this machine, for instance with " + build);
}

}  // namespace

EngineChoice choose_engine(const Manifest& manifest, const SessionOptions& options) {
  expect_one_of("device", options.device, std::array<std::string_view, 4>{"auto", "cpu", "gpu", "npu"});
  expect_one_of("precision", options.precision,
                std::array<std::string_view, 6>{"auto", "fp32", "fp16", "bf16", "int8", "fp8"});

  EngineChoice choice;
  for (const EngineSpec* engine : in_order_of_preference(manifest, options)) {
    std::string reason = mismatch(*engine, options);
    if (reason.empty()) {
      try {
        choice.engine = *engine;
        for (const auto& [key, value] : options.backend) choice.engine.options[key] = value;
        choice.engine.options.emplace("target", engine->target);  // what a backend checks its device against
        choice.backend = &Backend::load(engine->backend, options.search);
        choice.probe = choice.backend->probe(choice.engine);
        choice.candidates.push_back({engine->id, true, choice.probe.device});
        return choice;
      } catch (const Error& e) {
        reason = e.what();
      }
    }
    choice.candidates.push_back({engine->id, false, reason});
  }
  fail(manifest, options, choice.candidates);
}

}  // namespace navit_edge
