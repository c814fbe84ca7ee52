#include "navit_edge/stream.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "navit_edge/error.h"
#include "navit_edge/option_range.h"
#include "pixels/image_check.h"
#include "stream/stream_state.h"

namespace navit_edge {
namespace {

constexpr std::size_t kMostByDefault = 1024;

/// The stream was cancelled while an image of it waited for a place in the session's queue.
struct StreamEnded {};

std::size_t default_capacity(const Session& session) {
  std::int32_t images = 1;
  for (const Budget& budget : session.engine().budgets) images = std::max(images, budget.images);
  return std::min(kMostByDefault, static_cast<std::size_t>(images) * (static_cast<std::size_t>(session.slots()) + 2));
}

}  // namespace

Stream::Stream(Session& session, StreamOptions options) : session_(&session) {
  check_option("capacity", static_cast<double>(options.capacity));
  check_option("deadline_us", options.submit.deadline_us);
  const std::size_t capacity = options.capacity > 0 ? options.capacity : default_capacity(session);
  if (options.still && session.metrics().cache.most_bytes == 0) {
    throw InvalidInput(
        "still frames get results that are remembered, and the session remembers none (cache_bytes is 0); open it with "
        "cache_bytes, such as 64 MiB");
  }
  state_ = std::make_shared<State>(std::move(options), capacity, session.manifest().preprocess);
}

Stream::~Stream() {
  if (state_ != nullptr) cancel();
}

Stream::Stream(Stream&&) noexcept = default;

Stream& Stream::operator=(Stream&& other) noexcept {
  if (this != &other) {
    if (state_ != nullptr) cancel();
    session_ = other.session_;
    state_ = std::move(other.state_);
  }
  return *this;
}

Pushed Stream::push(OwnedImage image, std::uint64_t tag, std::optional<Content> content) {
  if (state_->still && !content) content = state_->still->content_of(image.view);
  return push_any(image, bytes_of(image.view), tag, std::move(content));
}

Pushed Stream::push(std::shared_ptr<ImageSource> source, std::uint64_t tag) {
  if (source == nullptr) throw InvalidInput("push was given no image source; expected one, as file_source(path)");
  const std::uint64_t bytes = source->held_bytes();
  return push_any(source, bytes, tag, std::nullopt);
}

template <class Given>
Pushed Stream::push_any(Given& given, std::uint64_t bytes, std::uint64_t tag, std::optional<Content> content) {
  std::uint64_t push = 0;
  const Pushed admitted = state_->admit(*session_, bytes, tag, push);
  if (admitted != Pushed::kTaken) return admitted;

  SubmitOptions submit = state_->options.submit;
  submit.tag = tag;
  submit.content = std::move(content);
  const Done done = [state = state_, push](Result&& result) { state->complete(push, std::move(result)); };
  std::uint64_t id = 0;
  try {
    if (state_->options.drop == DropPolicy::kBlock) {
      WaitOptions wait;  // others may fill the session's queue for as long as they like
      wait.look_up = [this] {
        const std::lock_guard lock(state_->mutex);
        if (state_->cancelled) throw StreamEnded();
      };
      id = session_->try_submit(given, submit, done, wait).value();
    } else if (const std::optional<std::uint64_t> taken = submit_or_drop(given, submit, done)) {
      id = *taken;
    } else {  // others fill the session's queue
      const std::lock_guard lock(state_->mutex);
      return state_->forget(push) ? Pushed::kDropped : Pushed::kEnded;
    }
  } catch (const StreamEnded&) {
    return Pushed::kEnded;
  } catch (...) {
    const std::lock_guard lock(state_->mutex);
    state_->forget(push);
    throw;
  }
  {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->entries.find(push);
    if (found != state_->entries.end() && found->second.phase == State::Entry::Phase::kSubmitting) {
      found->second.phase = State::Entry::Phase::kWaiting;
      found->second.id = id;
      state_->waiting.insert(push);
    }
    if (!state_->cancelled) return Pushed::kTaken;
  }
  (void)session_->cancel(id);
  return Pushed::kEnded;
}

template <class Given>
std::optional<std::uint64_t> Stream::submit_or_drop(Given& given, const SubmitOptions& submit, const Done& done) {
  std::vector<std::uint64_t> tags;
  std::optional<std::uint64_t> id;
  for (bool made_room = true; made_room;) {
    id = session_->try_submit(given, submit, done);
    if (id.has_value()) break;
    std::unique_lock lock(state_->mutex);
    // A result that nobody has fetched takes no place in the session's queue.
    made_room = state_->options.drop == DropPolicy::kDropOldest && !state_->waiting.empty() &&
                state_->drop_oldest(*session_, lock, tags);
    if (!made_room) {
      ++state_->dropped;
      tags.push_back(submit.tag);
    }
  }
  state_->report(*session_, tags);
  return id;
}

Pushed Stream::push_failed(std::exception_ptr error, std::uint64_t tag) {
  std::uint64_t push = 0;
  const Pushed admitted = state_->admit(*session_, 0, tag, push);
  if (admitted != Pushed::kTaken) return admitted;
  session_->count_refused(ErrorCode::kInvalidInput);
  Result result;
  result.error = std::move(error);
  result.tag = tag;
  state_->complete(push, std::move(result));
  return Pushed::kTaken;
}

std::optional<Result> Stream::pop() {
  std::unique_lock lock(state_->mutex);
  state_->available.wait(lock, [&] { return state_->over() || state_->ready(); });
  if (state_->over()) return std::nullopt;
  return state_->take();
}

bool Stream::pop_some(std::size_t most, std::chrono::microseconds wait, std::vector<Result>& results) {
  const Clock::time_point end = after(Clock::now(), static_cast<double>(wait.count()));
  std::unique_lock lock(state_->mutex);
  while (!state_->over() && !state_->ready() && Clock::now() < end) wait_until(state_->available, lock, end);
  if (state_->over()) return false;
  for (std::size_t i = 0; i < most && state_->ready(); ++i) results.push_back(state_->take());
  return true;
}

void Stream::finish() {
  const std::lock_guard lock(state_->mutex);
  state_->finished = true;
  state_->space.notify_all();
  state_->available.notify_all();
}

void Stream::cancel() {
  std::vector<std::uint64_t> ids;
  {
    const std::lock_guard lock(state_->mutex);
    state_->cancelled = true;
    for (const std::uint64_t push : state_->waiting) ids.push_back(state_->entries.at(push).id);
    state_->waiting.clear();
    state_->entries.clear();
    state_->first_done = state_->last_done = nullptr;
    state_->bytes = 0;
    state_->space.notify_all();
    state_->available.notify_all();
  }
  for (const std::uint64_t id : ids) (void)session_->cancel(id);
}

std::uint64_t Stream::dropped() const {
  const std::lock_guard lock(state_->mutex);
  return state_->dropped;
}

std::size_t Stream::size() const {
  const std::lock_guard lock(state_->mutex);
  return state_->entries.size();
}

std::size_t Stream::capacity() const noexcept { return state_->capacity; }

}  // namespace navit_edge
