// The one error hierarchy. Every message says what was found, what was expected and what to do.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "navit_edge/cxx20.h"

namespace navit_edge {

/// Values are part of the backend ABI: never renumber.
enum class ErrorCode : std::int32_t {
  kOk = 0,
  kInvalidInput = 1,
  kOverBudget = 2,
  kBundle = 3,
  kBackend = 4,
  kCancelled = 5,
};

class NAVIT_EDGE_API Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// An argument or an image the caller can mend.
class NAVIT_EDGE_API InvalidInput : public Error {
 public:
  explicit InvalidInput(const std::string& message) : Error(ErrorCode::kInvalidInput, message) {}
};

/// An image that fits no token budget of the engine.
class NAVIT_EDGE_API OverBudget : public Error {
 public:
  explicit OverBudget(const std::string& message) : Error(ErrorCode::kOverBudget, message) {}
};

/// A bundle that is missing, truncated, altered or of another schema.
class NAVIT_EDGE_API BundleError : public Error {
 public:
  explicit BundleError(const std::string& message) : Error(ErrorCode::kBundle, message) {}
};

/// A backend that does not load, an engine that does not open, a run that failed.
class NAVIT_EDGE_API BackendError : public Error {
 public:
  explicit BackendError(const std::string& message) : Error(ErrorCode::kBackend, message) {}
};

class NAVIT_EDGE_API Cancelled : public Error {
 public:
  explicit Cancelled(const std::string& message) : Error(ErrorCode::kCancelled, message) {}
};

/// "invalid_input", "over_budget", "bundle", "backend", "cancelled"; "ok" for kOk.
NAVIT_EDGE_API const char* label_of(ErrorCode code) noexcept;

/// Throws the class that belongs to `code`.
[[noreturn]] NAVIT_EDGE_API void throw_error(ErrorCode code, const std::string& message);

}  // namespace navit_edge
