// The C table of the TensorRT backend.
#include <cstdio>

#include "engine.h"
#include "navit_edge/backend_sdk.h"

struct navit_edge_engine : navit_edge::tensorrt::Engine {
  using Engine::Engine;
};

namespace {

namespace sdk = navit_edge::sdk;
namespace trt = navit_edge::tensorrt;

std::int32_t probe(const navit_edge_engine_desc* desc, const navit_edge_option* builder, std::size_t builder_count,
                   navit_edge_probe* out, navit_edge_error* error) {
  return sdk::guard(error, [&] {
    const trt::Options options = trt::parse_options(*desc);
    const trt::Library& library = trt::library(options);
    const trt::Device device = trt::fit_device(library, options, {builder, builder_count});
    std::snprintf(out->library_version, sizeof(out->library_version), "%s", library.version_text().c_str());
    std::snprintf(out->device, sizeof(out->device), "%s (sm%d), %s %s", device.name.c_str(), device.capability,
                  NAVIT_EDGE_TENSORRT_PRODUCT, library.version_text().c_str());
  });
}

constexpr navit_edge_backend_table kTable = sdk::table_of<navit_edge_engine>(NAVIT_EDGE_TENSORRT_BACKEND, probe);

}  // namespace

NAVIT_EDGE_BACKEND_EXPORT const navit_edge_backend_table* navit_edge_backend(std::uint32_t abi_version) {
  return abi_version == NAVIT_EDGE_BACKEND_ABI_VERSION ? &kTable : nullptr;
}
