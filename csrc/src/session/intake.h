// How images that are submitted come into a session, and files once they are decoded.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "navit_edge/image.h"
#include "navit_edge/image_source.h"
#include "navit_edge/submit.h"
#include "session/decoding.h"

namespace navit_edge {

class SessionCore;

/// A part of the core: takes a place in the queue, gives the image its grid, and puts it where it waits. Without the
/// session's mutex, which it locks.
class Intake {
 public:
  explicit Intake(SessionCore& core) : core_(core) {}

  /// As those of SessionCore.
  std::optional<std::uint64_t> submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                      const WaitOptions& wait);
  std::optional<std::uint64_t> submit(std::shared_ptr<ImageSource>& source, const SubmitOptions& options, Done done,
                                      const WaitOptions& wait);
  /// A file is an image now, or has its result, unless it was taken back.
  void admit(Decoding::Turn& turn, Decoding::Decoded& decoded);

 private:
  using Lock = std::unique_lock<std::mutex>;

  /// With the mutex held. A place in the queue: false if there was none in time.
  bool take_place(Lock& lock, std::int32_t priority, std::uint64_t bytes, const WaitOptions& wait);

  SessionCore& core_;
};

}  // namespace navit_edge
