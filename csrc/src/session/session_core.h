// What a session is made of, and which mutex guards what.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "session/completion_queue.h"
#include "session/context.h"
#include "session/decoding.h"
#include "session/device.h"
#include "session/faults.h"
#include "session/intake.h"
#include "session/lifecycle.h"
#include "session/metrics_observer.h"
#include "session/run_job.h"
#include "session/scheduler.h"
#include "session/session_memory.h"
#include "session/submissions.h"
#include "session/submit_call.h"
#include "session/twins.h"
#include "session/worker.h"

namespace navit_edge {

/// Ties the parts together: callers give runs and images to the scheduler; workers take packs from it, bring them
/// through the engines of their device, and give results to the runs and to the completion queue. Every thread keeps
/// the core alive: one that an engine never gives back keeps all it may touch.
///
/// Which mutex guards what:
/// * `mutex_`: submissions, scheduler, governor, faults, decoding, and what Lifecycle, Device, Worker and RunJob name
/// as guarded by the session's
///   mutex. Nobody holds it while pixels are read, an engine runs or a callback is called.
/// * Each EngineHost has one for opening, reporting on and letting go of engines, and one for whose turn it is among
/// packs
///   that cannot share the device. CompletionQueue has one for the results on their way to callbacks, Lifecycle one for
///   its threads.
/// * They are locked in this order: Lifecycle's, `mutex_`, CompletionQueue's or that of the turns. EngineHost's first
///   one is never held with others.
/// * SessionContext does not change once the core is made; MetricsObserver and `last_id_` are atomic. SessionMemory and
///   PixelRoom have mutexes of their own, the last of all.
class SessionCore : public std::enable_shared_from_this<SessionCore> {
 public:
  SessionCore(const std::filesystem::path& bundle, SessionOptions options);
  SessionCore(const SessionCore&) = delete;
  SessionCore& operator=(const SessionCore&) = delete;

  /// Starts the threads. Once, when a shared_ptr holds it.
  void start();

  std::vector<Result> run(std::span<const ImageView> images, RunReport* report, const RunOptions& options);
  /// The id; none if there was no place before the time of `wait` had passed, and then `image` is as it was.
  std::optional<std::uint64_t> submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                      const WaitOptions& wait);
  /// The same of what has to be decoded first; `source` as `image`.
  std::optional<std::uint64_t> submit(std::shared_ptr<ImageSource>& source, const SubmitOptions& options, Done done,
                                      const WaitOptions& wait);
  std::optional<Result> recall(const SubmitOptions& options, std::string& note);
  bool cancel(std::uint64_t id);
  /// False if the time of `wait` passed before.
  bool drain(const WaitOptions& wait);
  void close();
  /// Closes, and lets the threads go: if it is one of them that calls, they end by themselves.
  void leave();
  [[nodiscard]] std::string broken() const;

  [[nodiscard]] const SessionContext& context() const noexcept { return context_; }
  [[nodiscard]] const ProcessMark& process() const noexcept { return lifecycle_.process(); }
  [[nodiscard]] int slots() const noexcept { return devices_.slots(); }
  [[nodiscard]] std::string report();
  [[nodiscard]] Metrics metrics() const;
  [[nodiscard]] Recorder& recorder() noexcept { return observer_.recorder(); }
  void count_refused(ErrorCode code) noexcept { observer_.refused(++last_id_, code); }

 private:
  friend class Intake;
  using Lock = std::unique_lock<std::mutex>;

  /// The images of a run that a cascade runs again. Why the run was stopped, if it was.
  std::exception_ptr run_again(RunJob& job, const RunOptions& options);
  /// What a policy must know of the rest: nothing but for a latency target.
  [[nodiscard]] Load load_for(const Policy& policy, std::span<const ImageView> images, double spent_us) const;

  // On the threads; without the mutex.
  void serve(Worker& worker);
  void carry_out(Worker& worker);
  void watch();
  void decode_files();

  // With the mutex held.
  [[nodiscard]] bool over() const noexcept { return lifecycle_.closing() || faults_.broken(); }
  void refuse_if_over() const;
  /// Why nothing is run any more; null: it is.
  [[nodiscard]] std::exception_ptr over_error() const noexcept;
  bool claim(Worker& worker, Clock::time_point& look_again);
  void end(Worker& worker);
  void wake_workers();
  /// Nothing is put into the completion queue once the last worker has gone.
  void finish_if_over();
  void begin_close();  // locks it

  SessionContext context_;
  Devices devices_;
  std::size_t opened_bytes_;  // that the process held when they were opened
  CompletionQueue completions_;
  MetricsObserver observer_;
  std::optional<SessionMemory> memory_;  // none: nothing is remembered
  std::atomic<std::uint64_t> last_id_{0};

  mutable std::mutex mutex_;
  Submissions submissions_;
  Twins twins_;
  Scheduler scheduler_;
  Decoding decoding_;
  Governor governor_;
  Faults faults_;
  std::deque<Worker> workers_;
  Lifecycle lifecycle_;
  Intake intake_{*this};
};

}  // namespace navit_edge
