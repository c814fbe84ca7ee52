// Which processors of a machine share a core, and which NUMA nodes they lie in, as Linux says in /sys.
#pragma once

#include <filesystem>
#include <vector>

namespace navit_edge {

/// The processors that are online, of `root`/sys. Empty if the system does not say.
std::vector<int> online_processors(const std::filesystem::path& root);
/// `processors` with the first one of each core alone. One whose core is not known stands for itself.
std::vector<int> first_of_each_core(const std::vector<int>& processors, const std::filesystem::path& root);
/// The NUMA nodes that some of `processors` lie in, ascending. Empty if the system does not say.
std::vector<int> nodes_of(const std::vector<int>& processors, const std::filesystem::path& root);

}  // namespace navit_edge
