#include "navit_edge/session.h"

#include <memory>
#include <utility>

#include "base/text.h"
#include "engine/report_text.h"
#include "navit_edge/error.h"
#include "session/session_core.h"

namespace navit_edge {

struct Session::Impl {
  Impl(const std::filesystem::path& bundle, SessionOptions options)
      : core(std::make_shared<SessionCore>(bundle, std::move(options))) {
    core->start();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (core->process().here()) {
      core->leave();
    } else {  // a forked child: no thread of it exists here, and a lock may be held; it stays as it is, for ever
      (void)new std::shared_ptr<SessionCore>(std::move(core));
    }
  }

  /// The core, if it can be used.
  SessionCore& use() const {
    core->process().require("the session");
    return *core;
  }

  std::shared_ptr<SessionCore> core;
};

namespace {

/// What a session holds, unless it was moved from.
template <class Impl>
Impl& opened(const std::unique_ptr<Impl>& impl) {
  if (impl == nullptr) {
    throw InvalidInput(
        "this Session was moved from and holds no bundle; use the Session that it was moved to, or assign "
        "a new one to it");
  }
  return *impl;
}

/// `submit` with a callback that keeps a promise.
template <class Submit>
Submitted by_future(Submit&& submit) {
  auto promise = std::make_shared<std::promise<Result>>();
  Submitted submitted;
  submitted.result = promise->get_future();
  submitted.id = submit([promise](Result&& result) {
    if (result.error != nullptr) {
      promise->set_exception(result.error);
    } else {
      promise->set_value(std::move(result));
    }
  });
  return submitted;
}

}  // namespace

Session::Session(const std::filesystem::path& bundle, SessionOptions options)
    : impl_(std::make_unique<Impl>(bundle, std::move(options))) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

std::vector<Result> Session::run(std::span<const ImageView> images, RunReport* report, const RunOptions& options) {
  return opened(impl_).use().run(images, report, options);
}

Submitted Session::submit(OwnedImage image, const SubmitOptions& options) {
  return by_future([&](Done done) { return submit(std::move(image), options, std::move(done)); });
}
Submitted Session::submit(std::shared_ptr<ImageSource> source, const SubmitOptions& options) {
  return by_future([&](Done done) { return submit(std::move(source), options, std::move(done)); });
}

std::uint64_t Session::submit(OwnedImage image, const SubmitOptions& options, Done done) {
  return *opened(impl_).use().submit(image, options, std::move(done), {});
}
std::uint64_t Session::submit(std::shared_ptr<ImageSource> source, const SubmitOptions& options, Done done) {
  return *opened(impl_).use().submit(source, options, std::move(done), {});
}

std::optional<std::uint64_t> Session::try_submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                                 const WaitOptions& wait) {
  return opened(impl_).use().submit(image, options, std::move(done), wait);
}

std::optional<std::uint64_t> Session::try_submit(std::shared_ptr<ImageSource>& source, const SubmitOptions& options,
                                                 Done done, const WaitOptions& wait) {
  return opened(impl_).use().submit(source, options, std::move(done), wait);
}

std::optional<Result> Session::recall(const SubmitOptions& options, std::string& note) {
  return opened(impl_).use().recall(options, note);
}

std::optional<Size> Session::resized_size(Size image, const std::optional<Policy>& policy) const {
  const SessionContext& context = opened(impl_).core->context();
  return context.resized_size(image, context.policy_of(policy));
}

bool Session::cancel(std::uint64_t id) { return opened(impl_).use().cancel(id); }
bool Session::drain(const WaitOptions& wait) { return opened(impl_).use().drain(wait); }
void Session::close() {
  if (opened(impl_).core->process().here()) opened(impl_).core->close();
}
std::string Session::broken() const { return opened(impl_).use().broken(); }

const Manifest& Session::manifest() const& { return opened(impl_).core->context().manifest; }
const EngineSpec& Session::engine() const& { return opened(impl_).core->context().choice.engine; }
int Session::slots() const { return opened(impl_).core->slots(); }
const std::vector<Candidate>& Session::candidates() const& { return opened(impl_).core->context().choice.candidates; }
std::string Session::device() const {
  std::string all;
  for (const DeviceSpec& one : opened(impl_).core->context().choice.devices) {
    all += (all.empty() ? "" : "; ") + (one.name.empty() ? "" : one.name + ": ") + one.words;
  }
  return all;
}
int Session::threads() const { return opened(impl_).core->context().threads; }
std::string Session::engine_report() const {
  SessionCore& core = opened(impl_).use();
  const SessionContext& context = core.context();
  const bool one_of_cpu = context.on_cpu && context.options.devices.empty() && context.options.threads == 0;
  return with_choice(core.report(), {context.cpu, context.threads, context.options.threads, one_of_cpu,
                                     context.choice.engine.id, context.choice.candidates.back().detail,
                                     std::string(word_of(context.decode())), context.decoders});
}

Metrics Session::metrics() const { return opened(impl_).use().metrics(); }
Labels Session::metric_labels() const {
  std::filesystem::path bundle = std::filesystem::absolute(manifest().bundle).lexically_normal();
  if (!bundle.has_filename()) bundle = bundle.parent_path();
  return {{"bundle", utf8_key(bundle.filename().string())}, {"engine", engine().id}};
}
void Session::count_refused(ErrorCode code) { opened(impl_).use().count_refused(code); }
void Session::count_dropped(std::uint64_t tag) { opened(impl_).use().recorder().dropped(tag); }
void Session::start_trace(const TraceOptions& options) { opened(impl_).use().recorder().start_trace(options); }
std::string Session::stop_trace() { return opened(impl_).use().recorder().stop_trace(metric_labels(), slots()); }

}  // namespace navit_edge
