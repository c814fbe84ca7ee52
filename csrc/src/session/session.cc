#include "navit_edge/session.h"

#include <memory>
#include <utility>

#include "base/text.h"
#include "navit_edge/error.h"
#include "session/room.h"

namespace navit_edge {

struct Session::Impl {
  Impl(const std::filesystem::path& bundle, SessionOptions options)
      : room(std::make_shared<Room>(bundle, std::move(options))) {
    room->start();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (room->process().here()) {
      room->leave();
    } else {  // a forked child: no thread of it exists here, and a lock may be held; it stays as it is, for ever
      (void)new std::shared_ptr<Room>(std::move(room));
    }
  }

  /// The room, where it can be used.
  Room& use() const {
    room->process().require("the session");
    return *room;
  }

  std::shared_ptr<Room> room;
};

Session::Session(const std::filesystem::path& bundle, SessionOptions options)
    : impl_(std::make_unique<Impl>(bundle, std::move(options))) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Result> Session::run(std::span<const ImageView> images, RunReport* report, const RunOptions& options) {
  return impl_->use().run(images, report, options);
}

Submitted Session::submit(OwnedImage image, const SubmitOptions& options) {
  auto promise = std::make_shared<std::promise<Result>>();
  Submitted submitted;
  submitted.result = promise->get_future();
  submitted.id = submit(std::move(image), options, [promise](Result&& result) {
    if (result.error != nullptr) {
      promise->set_exception(result.error);
    } else {
      promise->set_value(std::move(result));
    }
  });
  return submitted;
}

std::uint64_t Session::submit(OwnedImage image, const SubmitOptions& options, Done done) {
  return *impl_->use().submit(image, options, std::move(done), {});
}

std::optional<std::uint64_t> Session::try_submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                                 const WaitOptions& wait) {
  return impl_->use().submit(image, options, std::move(done), wait);
}

bool Session::cancel(std::uint64_t id) { return impl_->use().cancel(id); }
bool Session::drain(const WaitOptions& wait) { return impl_->use().drain(wait); }
void Session::close() {
  if (impl_->room->process().here()) impl_->room->close();
}
std::string Session::broken() const { return impl_->use().broken(); }

const Manifest& Session::manifest() const& noexcept { return impl_->room->opened().manifest; }
const EngineSpec& Session::engine() const& noexcept { return impl_->room->opened().choice.engine; }
int Session::slots() const noexcept { return impl_->room->slots(); }
const std::vector<Candidate>& Session::candidates() const& noexcept { return impl_->room->opened().choice.candidates; }
std::string Session::device() const { return impl_->room->opened().choice.probe.device; }
std::string Session::engine_report() const { return impl_->use().report(); }

Metrics Session::metrics() const { return impl_->use().metrics(); }
Labels Session::metric_labels() const {
  std::filesystem::path bundle = std::filesystem::absolute(manifest().bundle).lexically_normal();
  if (!bundle.has_filename()) bundle = bundle.parent_path();
  return {{"bundle", utf8_key(bundle.filename().string())}, {"engine", engine().id}};
}
void Session::count_refused(ErrorCode code) { impl_->use().record_refused(code); }
void Session::count_dropped(std::uint64_t tag) { impl_->use().recorder().dropped(tag); }
void Session::start_trace(const TraceOptions& options) { impl_->use().recorder().start_trace(options); }
std::string Session::stop_trace() { return impl_->use().recorder().stop_trace(metric_labels(), slots()); }

}  // namespace navit_edge
