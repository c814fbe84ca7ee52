// What a forked child must know: that it is one. Threads of the parent do not exist there, and its locks may be held.
#pragma once

#include <cstdint>
#include <string>

namespace navit_edge {

/// How many forks lie between the process that loaded the library and this one. Costs a load.
std::uint32_t fork_generation() noexcept;

/// The process that made what holds this.
class ProcessMark {
 public:
  ProcessMark();
  [[nodiscard]] bool here() const noexcept { return generation_ == fork_generation(); }
  /// Throws BackendError in a forked child; `what` opens the message: "the session".
  void require(const char* what) const {
    if (!here()) refuse(what);
  }

 private:
  [[noreturn]] void refuse(const char* what) const;

  std::uint32_t generation_;
  std::int64_t process_;
};

}  // namespace navit_edge
