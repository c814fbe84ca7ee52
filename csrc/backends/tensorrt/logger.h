// What TensorRT says, kept for the errors that follow.
#pragma once

#include <mutex>
#include <string>
#include <utility>

#include "tensorrt_api.h"

namespace navit_edge::tensorrt {

/// Keeps the first error since the last `take`: the later ones follow from it. TensorRT calls it from any thread.
class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR || message == nullptr) return;
    try {
      const std::lock_guard lock(mutex_);
      if (first_.empty())
        first_.assign(
            message, std::char_traits<char>::length(message) < kMost ? std::char_traits<char>::length(message) : kMost);
    } catch (...) {  // no memory for a message: the call that failed still reports itself
    }
  }

  /// The error, or a remark that there was none; empties the logger.
  std::string take() {
    const std::lock_guard lock(mutex_);
    return first_.empty() ? "it gave no reason" : std::exchange(first_, {});
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    first_.clear();
  }

 private:
  static constexpr std::size_t kMost = 400;  // messages of the ABI hold 1024 characters
  std::mutex mutex_;
  std::string first_;
};

}  // namespace navit_edge::tensorrt
