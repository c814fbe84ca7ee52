#include "engine/engine_choice.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <span>
#include <utility>

#include "engine/measured_choice.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

/// Why `engine` is not what the caller asked for, or nothing.
std::string mismatch(const EngineSpec& engine, const SessionOptions& options) {
  const auto text = [](auto value) { return std::string(word_of(value)); };
  if (options.device && engine.device != *options.device) {
    return "it runs on " + text(engine.device) + "; device " + text(*options.device) + " was asked for";
  }
  if (!options.devices.empty()) {
    const bool cores = !devices_of(options).front().cores.empty();
    if (cores != (engine.device == DeviceKind::kCpu)) {
      return "it runs on " + text(engine.device) + "; device " + options.devices.front() + " was asked for";
    }
  }
  if (options.precision && engine.precision != *options.precision) {
    return "its precision is " + text(engine.precision) + "; " + text(*options.precision) + " was asked for";
  }
  return {};
}

/// What a session may run: an engine, or those of a group that the bundle holds.
struct Entry {
  std::string id;
  std::vector<const EngineSpec*> members;  // ascending in their largest budget
  bool is_group = false;
};

Entry group_of(const Manifest& manifest, const std::string& id) {
  Entry entry{id, {}, true};
  for (const EngineSpec& engine : manifest.engines) {
    if (engine.group.id == id) entry.members.push_back(&engine);
  }
  std::stable_sort(entry.members.begin(), entry.members.end(), [](const EngineSpec* a, const EngineSpec* b) {
    return a->budgets.back().tokens < b->budgets.back().tokens;
  });
  return entry;
}

std::vector<Entry> in_order_of_preference(const Manifest& manifest, const SessionOptions& options) {
  if (!options.engine.empty()) {
    Entry group = group_of(manifest, options.engine);
    if (!group.members.empty()) return {group};
    return {{options.engine, {&manifest.engine(options.engine)}}};
  }
  std::vector<Entry> entries;
  for (const EngineSpec& engine : manifest.engines) {
    if (engine.group.id.empty()) {
      entries.push_back({engine.id, {&engine}});
    } else if (std::none_of(entries.begin(), entries.end(), [&](const Entry& e) { return e.id == engine.group.id; })) {
      entries.push_back(group_of(manifest, engine.group.id));
    }
  }
  std::stable_partition(entries.begin(), entries.end(),
                        [](const Entry& entry) { return entry.members.front()->device != DeviceKind::kCpu; });
  return entries;
}

/// Throws BundleError if the engines of a group are not all there or do not fit together.
void check_group(const Entry& entry) {
  const EngineSpec& first = *entry.members.front();
  const auto fail = [&](const std::string& what) {
    throw BundleError("the group " + entry.id + what +
                      "; build it again with `navit-edge build-engine`, or name one of its engines alone");
  };
  for (const std::string& id : first.group.members) {
    const auto same = [&](const EngineSpec* engine) { return engine->id == id; };
    if (std::none_of(entry.members.begin(), entry.members.end(), same)) fail(" lacks its engine " + id);
  }
  std::int32_t tokens = 0;
  for (const EngineSpec* engine : entry.members) {
    const bool fits = engine->group.members == first.group.members && engine->backend == first.backend &&
                      engine->target == first.target && engine->precision == first.precision &&
                      engine->graph == first.graph && engine->strategy == first.strategy && !engine->dynamic_tokens;
    if (!fits) {
      fail(": its engines " + first.id + " and " + engine->id +
           " differ in members, backend, target, precision, graph or strategy, or have dynamic tokens");
    }
    if (engine->budgets.front().tokens <= tokens) {
      fail(": the budgets of " + engine->id + " overlap those of another of its engines");
    }
    tokens = engine->budgets.back().tokens;
  }
}

/// The members of `entry` with what the caller adds to their options, and all of them as one.
void take(const Entry& entry, const SessionOptions& options, EngineChoice& choice) {
  choice.members.clear();
  choice.member_of.clear();
  std::vector<Budget> budgets;
  std::vector<BudgetCost> cost;  // measured of all, or of none
  for (const EngineSpec* member : entry.members) {
    EngineSpec& taken = choice.members.emplace_back(*member);
    for (const auto& [key, value] : options.backend) taken.options[key] = value;
    taken.options.emplace("target", taken.target);  // what a backend checks its device against
    budgets.insert(budgets.end(), taken.budgets.begin(), taken.budgets.end());
    cost.insert(cost.end(), taken.cost.begin(), taken.cost.end());
    choice.member_of.resize(budgets.size(), choice.members.size() - 1);
  }
  choice.engine = choice.members.back();
  choice.engine.id = entry.id;
  if (cost.size() != budgets.size()) cost.clear();
  choice.engine.budgets = std::move(budgets);
  choice.engine.cost = std::move(cost);
}

/// Asks whether every member runs on every device. Returns the devices in words.
std::string probe(EngineChoice& choice) {
  std::string all;
  for (DeviceSpec& device : choice.devices) {
    for (EngineSpec member : choice.members) {
      for (const auto& [key, value] : device.backend) member.options[key] = value;
      try {
        device.words = choice.backend->probe(member).device;
      } catch (const Error& e) {
        if (device.name.empty()) throw;
        throw_error(e.code(), device.prefix() + e.what());
      }
    }
    all += (all.empty() ? "" : "; ") + (device.name.empty() ? "" : device.name + ": ") + device.words;
  }
  return all;
}

std::string times(double speed) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f x", speed);
  return text;
}

/// `entry` in place of what `choice` has, or nothing if it does not run on the same devices.
std::optional<EngineChoice> instead(const SessionOptions& options, const Entry& entry, const EngineChoice& choice) {
  EngineChoice other = choice;
  try {
    if (entry.is_group) check_group(entry);
    take(entry, options, other);
    other.backend = &Backend::load(other.engine.backend, options.search);
    other.candidates.push_back({entry.id, true, probe(other)});
    return other;
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// Of the entries behind the one that was chosen, the fastest that is clearly faster by measurement and exact enough,
/// if there is one; else the choice as it is. Its candidates say why.
EngineChoice fastest(const Manifest& manifest, const SessionOptions& options, std::span<const Entry> behind,
                     EngineChoice chosen) {
  const std::string device = chosen.devices.front().words;
  if (chosen.engine.cost.empty()) return chosen;
  std::optional<EngineChoice> best;
  double best_speed = kClearlyFaster;
  std::string why = chosen.candidates.back().detail;
  std::string best_why;
  for (const Entry& entry : behind) {
    const EngineSpec& member = *entry.members.front();
    if (!mismatch(member, options).empty() || member.device != chosen.engine.device) continue;
    if (!comparable(member, chosen.engine, device)) continue;  // before its backend is loaded
    std::optional<EngineChoice> other = instead(options, entry, chosen);
    if (!other || !comparable(other->engine, chosen.engine, device)) continue;
    const double speed = speed_over(manifest, other->engine, chosen.engine);
    if (speed < best_speed) continue;
    const Verdict verdict = verdict_of(manifest, other->engine);
    const std::string measured = times(speed) + " as fast by bench --calibrate";
    if (!verdict.exact_enough) {
      why += "; " + entry.id + " is " + measured + ", and not taken: " + verdict.words;
      continue;
    }
    best_speed = speed;
    best_why = measured + (verdict.words.empty() ? "" : ", " + verdict.words);
    best = std::move(other);
  }
  chosen.candidates.back().detail = why;
  if (!best) return chosen;
  Candidate taken = std::move(best->candidates.back());
  best->candidates = std::move(chosen.candidates);
  best->candidates.back().detail += "; " + taken.engine + " is faster";
  taken.detail += "; in place of " + chosen.engine.id + ": " + best_why;
  best->candidates.push_back(std::move(taken));
  return std::move(*best);
}

/// "openvino-cpu-bf16 (cpu, bf16), ..." of the engines that the bundle has.
std::string offered(const Manifest& manifest) {
  constexpr std::size_t kMost = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(manifest.engines.size(), kMost); ++i) {
    const EngineSpec& engine = manifest.engines[i];
    text += (i == 0 ? "" : ", ") + engine.id + " (" + std::string(word_of(engine.device)) + ", " +
            std::string(word_of(engine.precision)) + ")";
  }
  if (manifest.engines.size() > kMost) text += " and " + std::to_string(manifest.engines.size() - kMost) + " more";
  return text;
}

/// The command that builds what was asked for, or nothing if no backend makes it.
std::string build_command(const Manifest& manifest, const SessionOptions& options) {
  const bool gpu_only = options.precision == Precision::kFp16 || options.precision == Precision::kFp8;
  if (options.device == DeviceKind::kNpu || (options.device == DeviceKind::kCpu && gpu_only)) return {};
  const bool gpu = options.device == DeviceKind::kGpu || gpu_only;
  const std::string precision = options.precision ? " --precision " + std::string(word_of(*options.precision)) : "";
  return "`navit-edge build-engine " + manifest.bundle.string() + " --backend " + (gpu ? "tensorrt-rtx" : "openvino") +
         precision + "`" + (gpu ? " (or tensorrt, on the machine with the GPU)" : "");
}

/// No engine is for the device or of the precision that was asked for.
std::string nothing_asked_for(const Manifest& manifest, const SessionOptions& options) {
  std::string asked = options.device ? "device " + std::string(word_of(*options.device)) : "";
  SessionOptions kind = options;
  if (!options.devices.empty()) {
    asked = "device " + options.devices.front();
    kind.device = devices_of(options).front().cores.empty() ? DeviceKind::kGpu : DeviceKind::kCpu;
  }
  if (options.precision) {
    asked += (asked.empty() ? "" : " and ") + ("precision " + std::string(word_of(*options.precision)));
  }
  const std::string build = build_command(manifest, kind);
  const char* const leave = !options.devices.empty() ? "devices out"
                            : options.device         ? "device at auto"
                                                     : "precision at auto";
  return "the bundle " + manifest.bundle.string() + " has no engine for " + asked + "; it has " + offered(manifest) +
         "; leave " + leave + (build.empty() ? "" : ", or build one: " + build);
}

/// The reason of a candidate without its id in front, which the caller writes, and with the bundle in its commands.
std::string bare_reason(const Manifest& manifest, const Candidate& candidate) {
  const std::string id = candidate.engine + ": ";
  std::string reason = candidate.detail.starts_with(id) ? candidate.detail.substr(id.size()) : candidate.detail;
  const std::string placeholder = "build-engine BUNDLE ";  // a backend does not know where its engine lies
  if (const std::size_t at = reason.find(placeholder); at != std::string::npos) {
    reason.replace(at, placeholder.size(), "build-engine " + manifest.bundle.string() + " ");
  }
  return reason;
}

/// `fitting`: the candidates that are what was asked for.
[[noreturn]] void fail(const Manifest& manifest, const SessionOptions& options,
                       const std::vector<Candidate>& candidates, const std::vector<Candidate>& fitting) {
  const std::string bundle = manifest.bundle.string();
  if (candidates.empty()) {
    throw BackendError("the bundle " + bundle + " holds no engine; build one with `navit-edge build-engine " + bundle +
                       " --backend openvino`");
  }
  if (!options.engine.empty() && fitting.empty()) {
    throw BackendError("engine " + options.engine + " is not what was asked for: " + candidates.front().detail +
                       "; leave one of them out");
  }
  if (fitting.empty()) throw BackendError(nothing_asked_for(manifest, options));
  const std::string doctor = "`navit-edge doctor " + bundle + "`";
  if (!options.engine.empty()) {
    throw BackendError("engine " + options.engine + " cannot run here: " + bare_reason(manifest, fitting.front()) +
                       "\n" + doctor + " shows how to fix it");
  }
  std::vector<std::pair<std::string, std::string>> reasons;  // reason, engines
  for (const Candidate& candidate : fitting) {
    const std::string reason = bare_reason(manifest, candidate);
    const auto known =
        std::find_if(reasons.begin(), reasons.end(), [&](const auto& one) { return one.first == reason; });
    if (known == reasons.end()) {
      reasons.emplace_back(reason, candidate.engine);
    } else {
      known->second += ", " + candidate.engine;
    }
  }
  std::string message = "no engine of the bundle " + bundle + " can run here; " + doctor + " shows how to fix it:";
  for (const auto& [reason, engines] : reasons) message += "\n  " + engines + ": " + reason;
  throw BackendError(message);
}

}  // namespace

EngineChoice choose_engine(const Manifest& manifest, const SessionOptions& options) {
  EngineChoice choice;
  choice.devices = devices_of(options);
  std::vector<Candidate> fitting;         // what was asked for, and cannot run
  std::optional<Candidate> wrong_option;  // of the caller's: no engine that could be built would take it
  const std::vector<Entry> entries = in_order_of_preference(manifest, options);
  for (const Entry& entry : entries) {
    std::string reason = mismatch(*entry.members.front(), options);
    const bool fits = reason.empty();
    if (fits) {
      try {
        if (entry.is_group) check_group(entry);
        take(entry, options, choice);
        choice.backend = &Backend::load(choice.engine.backend, options.search);
        choice.candidates.push_back({entry.id, true, probe(choice)});
        const std::span<const Entry> behind(&entry + 1, entries.data() + entries.size());
        return fastest(manifest, options, behind, std::move(choice));
      } catch (const Error& e) {
        reason = e.what();
        if (e.code() == ErrorCode::kInvalidInput && !wrong_option) wrong_option = Candidate{entry.id, false, reason};
      }
    }
    choice.candidates.push_back({entry.id, false, reason});
    if (fits) fitting.push_back(choice.candidates.back());
  }
  if (wrong_option && !options.backend.empty()) {
    throw InvalidInput("engine " + wrong_option->engine + ": " + bare_reason(manifest, *wrong_option));
  }
  fail(manifest, options, choice.candidates, fitting);
}

}  // namespace navit_edge
