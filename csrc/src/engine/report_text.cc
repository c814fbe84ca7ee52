#include "engine/report_text.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace navit_edge {

using nlohmann::json;

std::string report_of_all(const char* kind, std::span<const EngineReport> reports) {
  json all = {{kind, json::object()}, {"warnings", json::array()}};
  for (const EngineReport& report : reports) {
    json one = json::parse(report.text);
    for (const json& warning : one.value("warnings", json::array())) all["warnings"].push_back(warning);
    all[kind][report.id] = std::move(one);
  }
  return all.dump();
}

std::string with_warning(const std::string& report, const std::string& warning) {
  json all = json::parse(report);
  all["warnings"].push_back(warning);
  return all.dump();
}

}  // namespace navit_edge
