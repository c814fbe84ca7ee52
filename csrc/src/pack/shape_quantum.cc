#include "pack/shape_quantum.h"

#include <charconv>
#include <string>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr std::int32_t kMost = 1024;

}  // namespace

std::int32_t shape_quantum(const EngineSpec& engine) {
  const auto given = engine.options.find("shape_quantum");
  if (given == engine.options.end()) return engine.dynamic_tokens ? kShapeQuantum : 1;
  const std::string& value = given->second;
  if (!engine.dynamic_tokens) {
    throw InvalidInput("option shape_quantum is '" + value + "', and engine " + engine.id +
                       " pads every pack to its budget; expected the option for engines of dynamic tokens only");
  }
  std::int32_t quantum = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), quantum);
  if (error != std::errc() || end != value.data() + value.size() || quantum < 1 || quantum > kMost) {
    throw InvalidInput("option shape_quantum is '" + value + "'; expected a whole number from 1 to " +
                       std::to_string(kMost) + "; 1 rounds nothing");
  }
  return quantum;
}

}  // namespace navit_edge
