// The C table of the TensorRT backend.
#include <cstdio>
#include <memory>

#include "engine.h"
#include "navit_edge/backend_sdk.h"

struct navit_edge_engine {
  explicit navit_edge_engine(const navit_edge_engine_desc& desc) : engine(desc) {}
  navit_edge::tensorrt::Engine engine;
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

std::int32_t open(const navit_edge_engine_desc* desc, navit_edge_engine** out, navit_edge_error* error) {
  return sdk::guard(error, [&] { *out = std::make_unique<navit_edge_engine>(*desc).release(); });
}

std::int32_t run(navit_edge_engine* engine, std::int32_t slot, const navit_edge_tensor* inputs, std::size_t input_count,
                 const navit_edge_tensor* outputs, std::size_t output_count, navit_edge_error* error) {
  return sdk::guard(error, [&] { engine->engine.run(slot, {inputs, input_count}, {outputs, output_count}); });
}

void close(navit_edge_engine* engine) { delete engine; }

std::int32_t query(navit_edge_engine* engine, const char* key, char* buffer, std::size_t capacity, std::size_t* needed,
                   navit_edge_error* error) {
  return sdk::guard(error, [&] {
    if (std::string_view(key) != "report") sdk::refuse_key(key);
    sdk::answer(engine->engine.report(), buffer, capacity, needed);
  });
}

std::int32_t memory(navit_edge_engine* engine, std::int32_t slot, const char* name, std::size_t bytes, void** data,
                    navit_edge_error* error) {
  return sdk::guard(error, [&] { *data = engine->engine.input_memory(slot, name, bytes); });
}

const navit_edge_backend_table kTable = {
    NAVIT_EDGE_BACKEND_ABI_VERSION, NAVIT_EDGE_TENSORRT_BACKEND, probe, open, run, close, query, memory};

}  // namespace

NAVIT_EDGE_BACKEND_EXPORT const navit_edge_backend_table* navit_edge_backend(std::uint32_t abi_version) {
  return abi_version == NAVIT_EDGE_BACKEND_ABI_VERSION ? &kTable : nullptr;
}
