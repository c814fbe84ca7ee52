// The C table of the OpenVINO backend.
#include <cstdio>
#include <openvino/core/version.hpp>
#include <openvino/runtime/properties.hpp>
#include <string>

#include "engine.h"
#include "navit_edge/backend_sdk.h"

struct navit_edge_engine : navit_edge::openvino::Engine {
  using Engine::Engine;
};

namespace {

using navit_edge::BackendError;
namespace sdk = navit_edge::sdk;

std::int32_t probe(const navit_edge_engine_desc* desc, const navit_edge_option* builder, std::size_t builder_count,
                   navit_edge_probe* out, navit_edge_error* error) {
  return sdk::guard(error, [&] {
    const std::string version = ov::get_openvino_version().buildNumber;
    for (std::size_t i = 0; i < builder_count; ++i) {
      if (std::string(builder[i].key) == "openvino" && version != builder[i].value) {
        throw BackendError(
            "the engine was built by OpenVINO " + std::string(builder[i].value) + "; this is OpenVINO " + version +
            ", which cannot open it; rebuild it here: navit-edge build-engine BUNDLE --backend openvino");
      }
    }
    const std::string device = navit_edge::openvino::parse_options(*desc).device;
    navit_edge::openvino::require_precision(device, desc->precision);
    const std::string words = navit_edge::openvino::core().get_property(device, ov::device::full_name);
    std::snprintf(out->library_version, sizeof(out->library_version), "%s", version.c_str());
    std::snprintf(out->device, sizeof(out->device), "%s (%s)", device.c_str(), words.c_str());
  });
}

constexpr navit_edge_backend_table kTable = sdk::table_of<navit_edge_engine>("openvino", probe);

}  // namespace

NAVIT_EDGE_BACKEND_EXPORT const navit_edge_backend_table* navit_edge_backend(std::uint32_t abi_version) {
  return abi_version == NAVIT_EDGE_BACKEND_ABI_VERSION ? &kTable : nullptr;
}
