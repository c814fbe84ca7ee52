// Submitted image files, from `submit` until they are images, and the threads that decode them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "navit_edge/image_source.h"
#include "navit_edge/submit.h"
#include "session/context.h"
#include "session/pixel_room.h"
#include "session/queue.h"
#include "session/session_memory.h"

namespace navit_edge {

/// Files that wait are decoded the most urgent first; each fourth turn goes to the one that has waited longest, if that
/// is too long. What is taken out while a thread has it is that thread's no more: it throws away what it made.
///
/// Members whose comment says so are called with the session's mutex held. `serve` releases it while it decodes.
class Decoding {
 public:
  using Lock = std::unique_lock<std::mutex>;

  /// What a thread works on. `image` is null once it was taken out.
  struct Turn {
    PendingImage* image = nullptr;
    std::atomic<bool> given_up = false;
  };

  /// What became of a file. Without an error and without a result it is an image.
  struct Decoded {
    std::uint64_t id = 0;
    Clock::time_point submitted;
    SubmitOptions options;  // with the content of the file, if it has one
    OwnedImage image;
    std::optional<Result> known;  // it was remembered
    std::exception_ptr error;

    [[nodiscard]] bool is_image() const noexcept { return error == nullptr && !known && image.view.data != nullptr; }
  };

  /// Borrows both; `memory` may be filled in until a thread serves.
  Decoding(const SessionContext& context, std::optional<SessionMemory>& memory);

  // With the session's mutex held.

  /// Its place has been taken, and all of it but the pixels is filled in. If memory runs out it throws, and nothing has
  /// changed; `source` is moved from only if it does not.
  void push(PendingImage& image, std::shared_ptr<ImageSource>& source, const SubmitOptions& options);
  /// Takes out a file that waits or is being decoded; null if there is none of this id. It has its place still.
  PendingImage* take_back(std::uint64_t id) noexcept;
  /// The same of any; null if there is none.
  PendingImage* take_any() noexcept;
  /// The session is closed: wakes the threads.
  void wake() noexcept { arrived_.notify_all(); }

  // Without it.

  /// A thread: returns when `closing`. `admit` is called without the mutex for each file that was decoded, or was not;
  /// it takes the turn's image, with the mutex, if that is still there.
  void serve(std::mutex& mutex, FunctionRef<bool()> closing, FunctionRef<void(Turn&, Decoded&)> admit);

 private:
  struct File {
    PendingImage* image;
    std::shared_ptr<ImageSource> source;
    SubmitOptions options;
  };
  using Files = std::map<std::uint64_t, File>;

  /// The file whose turn it is, out of those that wait.
  Files::node_type begin(Turn& turn);
  /// Without the mutex.
  void decode(File& file, const Turn& turn, Decoded& decoded) const;

  const SessionContext* context_;
  std::optional<SessionMemory>* memory_;
  std::shared_ptr<PixelRoom> room_;
  Files waiting_;                            // by id
  std::set<PendingImage*, Urgency> urgent_;  // the same
  std::vector<Turn*> turns_;                 // one for each thread that serves
  std::uint32_t count_ = 0;                  // of turns
  std::condition_variable arrived_;
};

}  // namespace navit_edge
