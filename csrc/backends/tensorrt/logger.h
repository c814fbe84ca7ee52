// What TensorRT says, kept for the errors that follow.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "tensorrt_api.h"

namespace navit_edge::tensorrt {

/// One for each plan, which has one place for a logger: TensorRT calls it from any thread. Errors are told apart by the
/// thread they come from, since a slot is one thread's at a time.
class Logger final : public nvinfer1::ILogger {
 public:
  /// While it lives, errors that the calling thread's calls give are kept for it. One at a time in a thread.
  class Call {
   public:
    explicit Call(Logger& logger) : logger_(logger), thread_(std::this_thread::get_id()) {
      const std::lock_guard lock(logger_.mutex_);
      if (logger_.first_.empty()) {
        logger_.strays_.clear();
        logger_.strays_shared_ = false;
      }
      logger_.strays_shared_ |= !logger_.strays_.empty();  // what was said before is another call's
      logger_.first_[thread_].clear();
    }
    ~Call() {
      const std::lock_guard lock(logger_.mutex_);
      logger_.first_.erase(thread_);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    /// Forgets what was said so far.
    void clear() {
      const std::lock_guard lock(logger_.mutex_);
      logger_.first_[thread_].clear();
    }

    /// The first error since the last `take` or `clear`, from which the later ones follow; or a remark that there was
    /// none. An error from a thread of TensorRT's own belongs to the only call under way, or else to nobody surely.
    std::string take() {
      const std::lock_guard lock(logger_.mutex_);
      std::string found;
      found.swap(logger_.first_[thread_]);
      if (!found.empty()) return found;
      if (logger_.strays_.empty()) return "it gave no reason";
      if (logger_.strays_shared_ || logger_.first_.size() > 1)
        return logger_.strays_ + " (said while several slots ran; it may be another's)";
      found.swap(logger_.strays_);
      return found;
    }

   private:
    Logger& logger_;
    std::thread::id thread_;
  };

  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR || message == nullptr) return;
    try {
      const std::lock_guard lock(mutex_);
      const auto caller = first_.find(std::this_thread::get_id());
      std::string& kept = caller != first_.end() ? caller->second : strays_;
      if (&kept == &strays_ && kept.empty()) strays_shared_ = first_.size() > 1;
      if (kept.empty()) kept.assign(message, std::min(std::strlen(message), kMost));
    } catch (...) {  // no memory for a message: the call that failed still reports itself
    }
  }

 private:
  static constexpr std::size_t kMost = 400;  // messages of the ABI hold 1024 characters
  std::mutex mutex_;
  std::map<std::thread::id, std::string> first_;  // of each call under way
  std::string strays_;                            // the first of another thread; forgotten when a call begins alone
  bool strays_shared_ = false;                    // it may belong to one of several calls
};

}  // namespace navit_edge::tensorrt
