#include "engine_set.h"

#include <nlohmann/json.hpp>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr int kMostSlots = 64;  // far above what any device profits from

Engine open_member(const Manifest& manifest, const EngineChoice& choice, const EngineSpec& member,
                   const EngineOptions& options) {
  try {
    return {*choice.backend, manifest, member, options};
  } catch (const Error& e) {
    if (choice.members.size() == 1) throw;
    throw_error(e.code(), "the group " + choice.engine.id + " needs all its engines, and " + member.id +
                              " cannot be opened: " + e.what() + "; or name one of its engines alone");
  }
}

}  // namespace

EngineSet::EngineSet(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options, int slots)
    : choice_(&choice), slots_(slots) {
  EngineOptions engine_options;
  engine_options.slots = slots;
  engine_options.threads = options.threads;
  engine_options.backend = options.backend;
  for (const EngineSpec& member : choice.members) {
    engines_.push_back(open_member(manifest, choice, member, engine_options));
    std::vector<Pack>& packs = packs_.emplace_back(static_cast<std::size_t>(slots));
    for (int slot = 0; slot < slots; ++slot) {
      lend_inputs(engines_.back(), slot, manifest.graph(member.graph), member.budgets.back(),
                  packs[static_cast<std::size_t>(slot)]);
    }
  }
}

std::string EngineSet::report() const {
  if (engines_.size() == 1) return engines_.front().report();
  nlohmann::json all = {{"engines", nlohmann::json::object()}, {"warnings", nlohmann::json::array()}};
  for (std::size_t i = 0; i < engines_.size(); ++i) {
    nlohmann::json one = nlohmann::json::parse(engines_[i].report());
    for (const auto& warning : one.value("warnings", nlohmann::json::array())) all["warnings"].push_back(warning);
    all["engines"][choice_->members[i].id] = std::move(one);
  }
  return all.dump();
}

EngineSet open_engines(const Manifest& manifest, EngineChoice& choice, const SessionOptions& options) {
  if (options.slots < 0 || options.slots > kMostSlots) {
    throw InvalidInput("slots is " + std::to_string(options.slots) + "; expected 1 to " + std::to_string(kMostSlots) +
                       ", or 0 for the default");
  }
  if (options.slots > 0) return {manifest, choice, options, options.slots};
  if (choice.engine.dynamic_tokens || runs_on_cpu(choice.engine)) return {manifest, choice, options, 1};
  try {
    return {manifest, choice, options, kDefaultSlots};
  } catch (const BackendError& e) {
    EngineSet alone(manifest, choice, options, 1);  // where this fails too, its error says what one slot lacks
    choice.candidates.back().detail +=
        "; one pack at a time, since " + std::to_string(kDefaultSlots) + " slots did not open: " + e.what();
    return alone;
  }
}

}  // namespace navit_edge
