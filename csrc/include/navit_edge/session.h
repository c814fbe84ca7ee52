// The session: images of any size in, results out. It ties plan, pack, engine and unpack together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/engine.h"
#include "navit_edge/image.h"
#include "navit_edge/image_source.h"
#include "navit_edge/manifest.h"
#include "navit_edge/metrics.h"
#include "navit_edge/policy.h"
#include "navit_edge/result.h"
#include "navit_edge/session_options.h"  // IWYU pragma: export
#include "navit_edge/submit.h"
#include "navit_edge/unpack.h"  // IWYU pragma: export

namespace navit_edge {

/// What was considered when the engine was chosen, in order; the last one that can run is used.
struct Candidate {
  std::string engine;  // or group
  bool usable = false;
  std::string detail;  // the device in words and, if it has one slot for lack of memory, that; or why not
};

struct PackReport {
  std::int32_t images = 0;
  std::int32_t tokens = 0;    // used
  std::int32_t capacity = 0;  // T as the graph saw it
  std::int32_t budget_tokens = 0;
  double start_us = 0;  // when its preprocessing began, since the run did
  double preprocess_us = 0;
  double engine_us = 0;
  double unpack_us = 0;     // part of no other
  std::int32_t slot = 0;    // of its device
  std::int32_t device = 0;  // index into Metrics::devices
  std::string engine;       // id of the engine that ran it; of a group that of its budget
  double predicted_us = 0;  // by the cost model, both together
};

struct RunReport {
  std::vector<PackReport> packs;
  std::int32_t most_in_flight = 0;  // packs at once, from the start of preprocessing to the results
  double plan_us = 0;               // sizing and planning of all images
  double total_us = 0;
  double predicted_us = 0;     // of all packs on the streams there are
  bool cost_measured = false;  // the prediction rests on `bench --calibrate`; false: on the model's sizes
};

struct RunOptions {
  /// Images done, failed ones among them, of all. Called on the thread that called `run`, outside of all locks, at
  /// least once after each change that it sees, last with both equal. If it throws, the packs in flight are waited
  /// for, no further one starts, and `run` throws that.
  std::function<void(std::size_t done, std::size_t total)> progress;
  std::optional<Policy> policy;  // none: the session's
  /// As that of WaitOptions: what it throws ends the run as what `progress` throws.
  std::function<void()> look_up = nullptr;
  double spent_us = 0;                                    // as that of SubmitOptions
  std::span<const std::optional<Content>> contents = {};  // [images] as that of SubmitOptions; empty: none
};

/// Runs images of any size, many at once or one by one as they come. Every function may be called from any thread;
/// packs of all callers share the engine in turn. Belongs to the process that opened it: in a forked child every call
/// throws BackendError, and `close` and the destructor leave what they find alone.
class NAVIT_EDGE_API Session {
 public:
  /// Opens a bundle. Throws BundleError, BackendError or InvalidInput.
  explicit Session(const std::filesystem::path& bundle, SessionOptions options = {});
  ~Session();  // closes; an engine that stalls is abandoned with all it touches
  /// A session that was moved from may be destroyed and assigned to; every other call throws InvalidInput.
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// One result per image, in input order. Borrows the pixels until it returns. An image that cannot be run (empty,
  /// over budget) fails alone: its result carries the error. So do the images of a pack that fails: their results carry
  /// "pack k of n failed" with the cause. Throws InvalidInput for an empty list, BackendError if the session is
  /// broken, Cancelled if it is closed.
  std::vector<Result> run(std::span<const ImageView> images, RunReport* report = nullptr,
                          const RunOptions& options = {});

  /// Takes one image to be run with those that others submit. An image that cannot be run (empty, over budget) is no
  /// error of the call: its result carries it. Waits while `queue_limit` images wait. Throws BackendError if the
  /// session is broken, Cancelled if it is closed, also while this waits, InvalidInput for options that make no
  /// sense; then nothing was taken.
  Submitted submit(OwnedImage image, const SubmitOptions& options = {});
  /// The same with a callback; returns the id.
  std::uint64_t submit(OwnedImage image, const SubmitOptions& options, Done done);
  /// The same, but does not wait, or no longer than `wait` says: if the queue is full there is no id, and `image` is
  /// left as it was.
  std::optional<std::uint64_t> try_submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                          const WaitOptions& wait = {.timeout_us = 0});

  /// Takes an image file, or what else becomes pixels, and returns: threads of the session decode it, and then it is an
  /// image like any other (image_source.h; docs/inputs.md). What is wrong with it is its result's error. It has a place
  /// in the queue from now on; the time of decoding counts for deadline and latency target. `source` is left as it was
  /// if there is no id.
  Submitted submit(std::shared_ptr<ImageSource> source, const SubmitOptions& options = {});
  std::uint64_t submit(std::shared_ptr<ImageSource> source, const SubmitOptions& options, Done done);
  std::optional<std::uint64_t> try_submit(std::shared_ptr<ImageSource>& source, const SubmitOptions& options, Done done,
                                          const WaitOptions& wait = {.timeout_us = 0});

  /// The result that is remembered of what `options.content` says, and what was noted with it; none if there is none,
  /// or the policy is a latency target, with which it depends on more. Counts as an image that was submitted and
  /// completed.
  std::optional<Result> recall(const SubmitOptions& options, std::string& note);

  /// What an image of this size is resized to, under a policy (none: the session's) that asks for nothing but the size.
  /// Who resizes it while it is decoded gives those pixels with ImageView::resized_from. None: of other policies, if
  /// the image is padded or cropped, and if no budget holds it; then give all of its pixels.
  [[nodiscard]] std::optional<Size> resized_size(Size image, const std::optional<Policy>& policy = std::nullopt) const;

  /// Takes a waiting image back, or one that is being decoded: true, and its result carries Cancelled. False if it is
  /// unknown, in a pack already, or done.
  bool cancel(std::uint64_t id);
  /// Waits until everything submitted so far has its result, callbacks included: true; false if the time of `wait`
  /// passed before. Throws InvalidInput if it is called from a callback, for which it would wait forever.
  bool drain(const WaitOptions& wait = {});
  /// Takes no more images. Packs in flight finish, waiting images get Cancelled, callbacks are called; then returns.
  /// From a callback it returns at once, and the rest happens behind it. May be called again.
  void close();
  /// The first cause if three packs in a row failed, or one stalled; else empty. A broken session fails what waits
  /// and takes no more; open another. Of several devices one that fails so is lost alone (Metrics::devices); the
  /// session is broken when all are.
  [[nodiscard]] std::string broken() const;

  [[nodiscard]] const Manifest& manifest() const&;
  /// What runs. For a group: its id, the budgets of all its engines, and the rest as its largest engine has it.
  [[nodiscard]] const EngineSpec& engine() const&;
  [[nodiscard]] int slots() const;  // packs that may be in flight at once
  /// CPU threads that it takes; engine_report says why so many. Of devices with cores of their own: without these.
  [[nodiscard]] int threads() const;
  [[nodiscard]] const std::vector<Candidate>& candidates() const&;
  [[nodiscard]] std::string device() const;  // in words, as the backend says; of several all (metrics has each)
  /// What the opened engine says of itself, a JSON object: Engine::report. Of several devices {"devices": {name:
  /// report}, "warnings": [all of theirs]}. "cpu": how many threads the session takes, and why (cores.h).
  [[nodiscard]] std::string engine_report() const;

  /// What it has done so far (docs/metrics.md); also of a session that is closed or broken.
  [[nodiscard]] Metrics metrics() const;
  /// {{"bundle", its directory's name}, {"engine", engine().id}}, for to_prometheus.
  [[nodiscard]] Labels metric_labels() const;
  /// Counts an image that failed before it could be submitted, since its file cannot be decoded, say: as submitted and
  /// failed. Streams and whoever feeds a session call it, so that its metrics tell of every image.
  void count_refused(ErrorCode code);
  /// Counts an image that was left out to keep up; `tag` is for the trace. Streams call it.
  void count_dropped(std::uint64_t tag);
  /// Records what happens from now on. Throws InvalidInput if a trace is being recorded already.
  void start_trace(const TraceOptions& options = {});
  /// Ends it: Chrome Trace Event JSON, which ui.perfetto.dev opens. Throws InvalidInput if there is none.
  std::string stop_trace();

  // What is borrowed from a temporary would dangle.
  const Manifest& manifest() const&& = delete;
  const EngineSpec& engine() const&& = delete;
  const std::vector<Candidate>& candidates() const&& = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace navit_edge
