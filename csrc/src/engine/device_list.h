// The devices of a session, as its options name them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "navit_edge/session_options.h"

namespace navit_edge {

/// One device that the engines of a session are opened on.
struct DeviceSpec {
  std::string name;        // as it was asked for: "gpu:1", "cpu:0-3"; empty: the one that nobody named
  std::vector<int> cores;  // of a CPU engine that has some of them for itself; empty: all
  std::map<std::string, std::string> backend;  // what it adds to the backend's options
  std::string words;                           // what it is, as the backend says

  /// `options` as the engines of this device are opened by. `devices`: how many share the cores that write packs.
  [[nodiscard]] SessionOptions applied_to(SessionOptions options, std::size_t devices) const;
  /// "device gpu:1: ", to open a message about it; "" if nobody named it.
  [[nodiscard]] std::string prefix() const { return name.empty() ? "" : "device " + name + ": "; }
};

/// Those of `options.devices`, or one without a name. Throws InvalidInput for words that name no device, and for
/// devices that are named twice, overlap or are of two kinds.
std::vector<DeviceSpec> devices_of(const SessionOptions& options);

}  // namespace navit_edge
