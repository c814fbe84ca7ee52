#include "base/topology.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "base/core_list.h"

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

std::vector<int> list_in(const fs::path& file) {
  std::string list;
  std::ifstream in(file);
  std::getline(in, list);
  return cores_of(list);
}

}  // namespace

std::vector<int> online_processors(const fs::path& root) { return list_in(root / "sys/devices/system/cpu/online"); }

std::vector<int> first_of_each_core(const std::vector<int>& processors, const fs::path& root) {
  std::vector<int> firsts;
  std::vector<int> taken;  // siblings of `firsts`
  for (const int processor : processors) {
    if (std::find(taken.begin(), taken.end(), processor) != taken.end()) continue;
    firsts.push_back(processor);
    const fs::path folder = root / "sys/devices/system/cpu" / ("cpu" + std::to_string(processor)) / "topology";
    std::vector<int> siblings = list_in(folder / "thread_siblings_list");
    if (siblings.empty()) siblings = list_in(folder / "core_cpus_list");  // its name since Linux 5.3
    // Nonsense that leaves the processor itself out says nothing of others.
    if (!std::binary_search(siblings.begin(), siblings.end(), processor)) continue;
    taken.insert(taken.end(), siblings.begin(), siblings.end());
  }
  return firsts;
}

std::vector<int> nodes_of(const std::vector<int>& processors, const fs::path& root) {
  std::vector<int> nodes;
  for (const int node : list_in(root / "sys/devices/system/node/online")) {
    const std::vector<int> cores = cores_of_node(node, root);  // none: a node of memory alone
    const auto lies_in = [&](int core) { return std::binary_search(processors.begin(), processors.end(), core); };
    if (std::any_of(cores.begin(), cores.end(), lies_in)) nodes.push_back(node);
  }
  return nodes;
}

}  // namespace navit_edge
