#include "navit_edge/error.h"

namespace navit_edge {

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
