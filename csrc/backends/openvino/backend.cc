// The C table of the OpenVINO backend.
#include <cstdio>
#include <memory>
#include <openvino/core/version.hpp>
#include <openvino/runtime/properties.hpp>
#include <string>

#include "engine.h"
#include "freed_memory.h"
#include "navit_edge/backend_sdk.h"

struct navit_edge_engine {
  explicit navit_edge_engine(const navit_edge_engine_desc& desc) : engine(desc) {}
  navit_edge::openvino::Engine engine;
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

std::int32_t open(const navit_edge_engine_desc* desc, navit_edge_engine** out, navit_edge_error* error) {
  return sdk::guard(error, [&] { *out = std::make_unique<navit_edge_engine>(*desc).release(); });
}

std::int32_t run(navit_edge_engine* engine, std::int32_t slot, const navit_edge_tensor* inputs, std::size_t input_count,
                 const navit_edge_tensor* outputs, std::size_t output_count, navit_edge_error* error) {
  return sdk::guard(error, [&] { engine->engine.run(slot, {inputs, input_count}, {outputs, output_count}); });
}

void close(navit_edge_engine* engine) {
  delete engine;
  navit_edge::openvino::give_back();
}

std::int32_t query(navit_edge_engine* engine, const char* key, char* buffer, std::size_t capacity, std::size_t* needed,
                   navit_edge_error* error) {
  return sdk::guard(error, [&] {
    if (std::string_view(key) != "report") sdk::refuse_key(key);
    sdk::answer(engine->engine.report(), buffer, capacity, needed);
  });
}

/// None: `run` binds the caller's own memory, so there is no copy to save.
std::int32_t memory(navit_edge_engine*, std::int32_t, const char*, std::size_t, void** data, navit_edge_error* error) {
  return sdk::guard(error, [&] { *data = nullptr; });
}

const navit_edge_backend_table kTable = {
    NAVIT_EDGE_BACKEND_ABI_VERSION, "openvino", probe, open, run, close, query, memory};

}  // namespace

NAVIT_EDGE_BACKEND_EXPORT const navit_edge_backend_table* navit_edge_backend(std::uint32_t abi_version) {
  return abi_version == NAVIT_EDGE_BACKEND_ABI_VERSION ? &kTable : nullptr;
}
