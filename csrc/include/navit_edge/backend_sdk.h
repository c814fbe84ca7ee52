// For authors of backends: exceptions inside, codes outside.
#pragma once

#include <cstdio>
#include <exception>
#include <new>

#include "navit_edge/backend_abi.h"
#include "navit_edge/error.h"

#define NAVIT_EDGE_BACKEND_EXPORT extern "C" __attribute__((visibility("default")))

namespace navit_edge::sdk {

inline std::int32_t fail(navit_edge_error* error, ErrorCode code, const char* message) noexcept {
  if (error != nullptr) {
    error->code = static_cast<std::int32_t>(code);
    std::snprintf(error->message, sizeof(error->message), "%s", message);
  }
  return static_cast<std::int32_t>(code);
}

/// Runs `body`; an exception becomes a code and a message in `error`. Nothing leaves by throwing.
template <class Body>
std::int32_t guard(navit_edge_error* error, Body&& body) noexcept {
  try {
    body();
    if (error != nullptr) {
      error->code = 0;
      error->message[0] = '\0';
    }
    return 0;
  } catch (const Error& e) {
    return fail(error, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(error, ErrorCode::kBackend, "out of memory");
  } catch (const std::exception& e) {
    return fail(error, ErrorCode::kBackend, e.what());
  } catch (...) {
    return fail(error, ErrorCode::kBackend, "unknown exception in the backend");
  }
}

}  // namespace navit_edge::sdk
