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

std::string with_choice(const std::string& report, const ChoiceReport& choice) {
  const CpuLimits& limits = choice.limits;
  json cpu = {{"threads", choice.threads},
              {"why", limits.words(choice.asked)},
              {"affinity", limits.affinity},
              {"cores", limits.cores()},
              {"quota_cores", limits.quota_cores ? json(*limits.quota_cores) : json()},
              {"numa_nodes", limits.nodes}};
  if (choice.one_of_cpu && limits.nodes.size() > 1) {
    std::string list;
    for (const int node : limits.nodes) list += (list.empty() ? "\"numa:" : ", \"numa:") + std::to_string(node) + '"';
    cpu["hint"] = "one engine computes on one socket of this machine's " + std::to_string(limits.nodes.size()) +
                  " NUMA nodes; devices=[" + list + "] opens one on each";
  }
  json all = json::parse(report);
  all["cpu"] = std::move(cpu);
  all["choice"] = {{"engine", choice.engine}, {"why", choice.why}};
  all["decode"] = {{"threads", choice.decoders}, {"jpeg", choice.jpeg}};
  return all.dump();
}

}  // namespace navit_edge
