#include "int8_products.h"

#include <algorithm>
#include <openvino/core/model.hpp>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace navit_edge::openvino {

bool has_int8_products() noexcept {
#if defined(__x86_64__)
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned kAvxVnni = 1U << 4;  // leaf 7.1, eax; g++ 11 has no name for it
  const bool avx_vnni = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kAvxVnni) != 0;
  return avx_vnni || __builtin_cpu_supports("avx512vnni") != 0;
#else
  return true;
#endif
}

bool computes_in_int8(const ov::CompiledModel& model) {
  const auto operations = model.get_runtime_model()->get_ordered_ops();
  return std::any_of(operations.begin(), operations.end(), [](const auto& operation) {
    const auto& info = operation->get_rt_info();
    const auto kind = info.find("layerType");
    const auto precision = info.find("runtimePrecision");
    if (kind == info.end() || precision == info.end()) return false;
    const auto computed = precision->second.template as<std::string>();
    return kind->second.template as<std::string>() == "FullyConnected" && (computed == "i8" || computed == "u8");
  });
}

}  // namespace navit_edge::openvino
