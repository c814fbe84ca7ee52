// Lists of cores, and threads that are bound to them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace navit_edge {

/// The cores of "0-3,8", as Linux writes lists of them: ascending, each once. Empty if it is no such list.
std::vector<int> cores_of(std::string_view list);
/// "0-3,8".
std::string list_of(const std::vector<int>& cores);
/// The cores of a NUMA node, of `root`/sys. Empty if there is none of that number.
std::vector<int> cores_of_node(int node, const std::filesystem::path& root = "/");
/// Those that the calling thread may run on, ascending. Empty if the system does not say.
std::vector<int> cores_of_this_thread();

/// Binds the calling thread to `cores` until it goes; threads that are started meanwhile inherit that. With no cores it
/// does nothing. Throws InvalidInput if the system refuses.
class CoreBinding {
 public:
  explicit CoreBinding(const std::vector<int>& cores);
  ~CoreBinding();
  CoreBinding(const CoreBinding&) = delete;
  CoreBinding& operator=(const CoreBinding&) = delete;

 private:
  std::vector<int> before_;  // empty: not bound
};

}  // namespace navit_edge
