#include "navit_edge/error.h"

namespace navit_edge {

const char* label_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kOk:
      return "ok";
    case ErrorCode::kInvalidInput:
      return "invalid_input";
    case ErrorCode::kOverBudget:
      return "over_budget";
    case ErrorCode::kBundle:
      return "bundle";
    case ErrorCode::kBackend:
      return "backend";
    case ErrorCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

void throw_error(ErrorCode code, const std::string& message) {
  switch (code) {
    case ErrorCode::kInvalidInput:
      throw InvalidInput(message);
    case ErrorCode::kOverBudget:
      throw OverBudget(message);
    case ErrorCode::kBundle:
      throw BundleError(message);
    case ErrorCode::kCancelled:
      throw Cancelled(message);
    case ErrorCode::kBackend:
    case ErrorCode::kOk:  // an error without a code is the backend's
      break;
  }
  throw BackendError(message);
}

}  // namespace navit_edge
