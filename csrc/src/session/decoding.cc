#include "session/decoding.h"

#include <utility>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

/// Whatever a decoder throws is its image's own error.
std::exception_ptr own_error(std::uint64_t id) noexcept {
  try {
    throw;
  } catch (const Error&) {
    return std::current_exception();
  } catch (const std::exception& error) {
    try {
      const std::string what = error.what();
      return std::make_exception_ptr(
          InvalidInput("image " + std::to_string(id) + " cannot be decoded (" + what + "); check the file"));
    } catch (...) {
      return std::current_exception();
    }
  } catch (...) {
    return std::make_exception_ptr(InvalidInput("an image cannot be decoded; check the file"));
  }
}

/// Pixels, and the room that they take.
OwnedImage in_room(OwnedImage image, PixelRoom::Held room) {
  using Both = std::pair<PixelRoom::Held, std::shared_ptr<const void>>;  // the second goes first: the pixels
  auto both = std::make_shared<Both>(std::move(room), nullptr);
  both->second = std::move(image.owner);
  return {image.view, std::shared_ptr<const void>(both, both.get())};
}

}  // namespace

Decoding::Decoding(const SessionContext& context, std::optional<SessionMemory>& memory)
    : context_(&context), memory_(&memory), room_(std::make_shared<PixelRoom>(context.options.decode_bytes)) {
  turns_.reserve(static_cast<std::size_t>(context.decoders));
}

void Decoding::push(PendingImage& image, std::shared_ptr<ImageSource>& source, const SubmitOptions& options) {
  const auto place = waiting_.emplace(image.id, File{&image, nullptr, options}).first;
  try {
    urgent_.insert(&image);
  } catch (...) {
    waiting_.erase(place);
    throw;
  }
  place->second.source = std::move(source);
  arrived_.notify_one();
}

PendingImage* Decoding::take_back(std::uint64_t id) noexcept {
  for (Turn* turn : turns_) {
    if (turn->image == nullptr || turn->image->id != id) continue;
    turn->given_up = true;
    room_->wake();
    return std::exchange(turn->image, nullptr);
  }
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return nullptr;
  PendingImage* const image = found->second.image;
  image->image.owner = std::move(found->second.source);  // goes with its result, outside of the mutex
  urgent_.erase(image);
  waiting_.erase(found);
  return image;
}

PendingImage* Decoding::take_any() noexcept {
  if (!waiting_.empty()) return take_back(waiting_.begin()->first);
  for (const Turn* turn : turns_) {
    if (turn->image != nullptr) return take_back(turn->image->id);
  }
  return nullptr;
}

Decoding::Files::node_type Decoding::begin(Turn& turn) {
  PendingImage* next = *urgent_.begin();
  PendingImage* const oldest = waiting_.begin()->second.image;
  const bool too_long = microseconds_since(oldest->submitted) > context_->options.aging_us;
  if (++count_ % 4 == 0 && too_long) next = oldest;
  urgent_.erase(next);
  turn.image = next;
  turn.given_up = false;
  return waiting_.extract(next->id);
}

void Decoding::decode(File& file, const Turn& turn, Decoded& decoded) const {
  const Policy& policy = context_->policy_of(decoded.options.policy);
  SessionMemory* const memory = memory_->has_value() ? &**memory_ : nullptr;
  DecodeTarget target{context_->sizer.preprocess(), [&](Size image) { return context_->resized_size(image, policy); },
                      context_->decode()};
  if (memory != nullptr) target.resized_size = [](Size) { return std::nullopt; };  // a result is remembered by pixels
  if (memory != nullptr) {
    if (const auto digest = file.source->digest()) decoded.options.content = Content{*digest, ""};
  }
  if (memory != nullptr && decoded.options.content) {
    std::string note;
    decoded.known = memory->find(*decoded.options.content, policy, note);
    if (decoded.known) return file.source->recalled(note);
  }
  PixelRoom::Held room = room_->take(file.source->open(target), turn.given_up);
  if (room == nullptr) return;
  decoded.image = in_room(file.source->decode(), std::move(room));
  if (decoded.options.content) decoded.options.content->note = file.source->note();
  if (decoded.image.view.data == nullptr) throw InvalidInput("an image source gave no pixels; expected some");
}

void Decoding::serve(std::mutex& mutex, FunctionRef<bool()> closing, FunctionRef<void(Turn&, Decoded&)> admit) {
  Turn turn;
  Lock lock(mutex);
  turns_.push_back(&turn);
  for (;;) {
    arrived_.wait(lock, [&] { return closing() || !urgent_.empty(); });
    if (urgent_.empty()) break;
    {
      Files::node_type node = begin(turn);
      File& file = node.mapped();
      Decoded decoded;
      decoded.id = turn.image->id;
      decoded.submitted = turn.image->submitted;
      decoded.options = std::move(file.options);
      lock.unlock();
      try {
        decode(file, turn, decoded);
      } catch (...) {
        decoded.error = own_error(decoded.id);
      }
      file.source.reset();
      admit(turn, decoded);
    }  // what is left of it goes without the mutex
    lock.lock();
  }
  std::erase(turns_, &turn);
}

}  // namespace navit_edge
