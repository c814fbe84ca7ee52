// What a loaded backend is made of; shared by loader.cc and engine.cc.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "navit_edge/backend_abi.h"
#include "navit_edge/engine.h"

namespace navit_edge {

struct Backend::Impl {
  std::string name;
  std::filesystem::path path;
  const navit_edge_backend_table* table = nullptr;  // lives as long as the process: libraries are never unloaded
};

/// Key-value pairs as the C table takes them. Borrows the map.
inline std::vector<navit_edge_option> c_options(const std::map<std::string, std::string>& map) {
  std::vector<navit_edge_option> options;
  options.reserve(map.size());
  for (const auto& [key, value] : map) options.push_back({key.c_str(), value.c_str()});
  return options;
}

/// Throws the error of a failed call; `what` opens the message.
void check_backend_call(std::int32_t code, const navit_edge_error& error, const std::string& what);

}  // namespace navit_edge
