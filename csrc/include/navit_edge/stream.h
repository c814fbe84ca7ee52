// Streams: images in from any thread, results out one by one, bounded in memory. For cameras, folders and queues.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "navit_edge/image.h"
#include "navit_edge/result.h"
#include "navit_edge/session.h"
#include "navit_edge/submit.h"

namespace navit_edge {

/// What becomes of an image that is pushed into a full stream.
enum class DropPolicy : std::int32_t {
  kBlock,  // `push` waits until there is room
  /// The oldest image that is still waiting, not in a pack yet, gives way; if none waits, the oldest result that
  /// nobody has fetched; if there is neither, the new image. `push` never waits.
  kDropOldest,
  kDropNewest,  // the new image is dropped; `push` never waits
};

/// Frames that are as an earlier one, its key frame, was: they get its result again, which Result::cached says, without
/// a run. Compared are single pixels of a copy of 64 pixels on the longer side, in luma.
struct StillOptions {
  std::int32_t levels = 16;  // a pixel has changed if it differs by more, of 255
  double share = 0.002;      // a frame has changed if more of the copy's pixels have
  std::int64_t every = 0;    // frames from a key frame to the next at most; 0: until the picture changes
};

struct StreamOptions {
  /// Most images in the stream, from `push` until `pop` has handed out the result. 0: the images of the largest budget
  /// times slots + 2 (one pack in each slot, one to fill, one to fetch), 1024 at most.
  std::size_t capacity = 0;
  /// Most bytes of pixels in the stream, from `push` to the result. One image is always let in. 0: no limit.
  std::size_t capacity_bytes = std::size_t{256} << 20;
  bool ordered = true;  // results leave in the order of the pushes; false: as they are ready
  DropPolicy drop = DropPolicy::kBlock;
  SubmitOptions submit;  // of every image; the tag is that of `push`
  /// Of one camera's frames, given as pixels; images that bring a `content`, pairs of frames and files are run as
  /// ever. The session must
  /// remember results (SessionOptions::cache_bytes).
  std::optional<StillOptions> still;
  /// Called with the tag of each dropped image, in the thread whose `push` it gave way to. Must not throw.
  std::function<void(std::uint64_t tag)> on_drop;
};

enum class Pushed : std::int32_t {
  kTaken,    // its result will be handed out, unless a later image makes it give way
  kDropped,  // it was dropped at once
  kEnded,    // the stream takes no more: after `finish` or `cancel`
};

/// One stream over a session, which may have several at once, beside `run` and `submit`. Every member may be called
/// from any thread. Borrows the session: it must outlive the stream, and stay where it is.
class NAVIT_EDGE_API Stream {
 public:
  explicit Stream(Session& session, StreamOptions options = {});
  explicit Stream(Session&& session, StreamOptions options = {}) = delete;
  ~Stream();  // cancels
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;

  /// Puts an image into the stream. `image.owner` keeps the pixels alive and is released when they have been read, or
  /// the image was dropped or cancelled. What is wrong with an image is in its result. Throws what Session::submit does
  /// if the session is closed or broken; the image is then not in the stream. `content`: as that of SubmitOptions.
  Pushed push(OwnedImage image, std::uint64_t tag = 0, std::optional<Content> content = std::nullopt);

  /// The same of an image file, which the session's threads decode (Session::submit). `capacity_bytes` counts what it
  /// holds until then, SessionOptions::decode_bytes its pixels.
  Pushed push(std::shared_ptr<ImageSource> source, std::uint64_t tag = 0);

  /// Takes the place of an image that could not be read: its result carries `error` and leaves in its turn.
  Pushed push_failed(std::exception_ptr error, std::uint64_t tag = 0);

  /// The next result; waits for it. Empty at the end: after `finish` when all results were handed out, after `cancel`
  /// at once. Results of dropped images are not handed out.
  std::optional<Result> pop();

  /// Appends up to `most` results that are ready to `results`, waiting up to `wait` for the first. False at the end.
  bool pop_some(std::size_t most, std::chrono::microseconds wait, std::vector<Result>& results);

  /// No more images; those in the stream complete.
  void finish();

  /// Ends the stream at once: images that wait are cancelled, and what is in flight ends unseen. Does not wait for it.
  void cancel();

  [[nodiscard]] std::uint64_t dropped() const;  // images and results that gave way
  [[nodiscard]] std::size_t size() const;       // images and results in the stream
  [[nodiscard]] std::size_t capacity() const noexcept;

 private:
  struct State;
  template <class Given>
  Pushed push_any(Given& given, std::uint64_t bytes, std::uint64_t tag, std::optional<Content> content);
  template <class Given>
  std::optional<std::uint64_t> submit_or_drop(Given& given, const SubmitOptions& submit, const Done& done);

  Session* session_;
  std::shared_ptr<State> state_;
};

}  // namespace navit_edge
