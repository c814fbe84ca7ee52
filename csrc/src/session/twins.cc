#include "session/twins.h"

#include <utility>

#include "base/clock.h"

namespace navit_edge {

bool Twins::join(PendingImage& image) {
  image.twin = nullptr;
  if (!image.key) {
    queue_->push(image);
    return false;
  }
  const auto [place, first] = flights_.try_emplace(*image.key, Flight{&image, &image});
  if (first) {
    try {
      queue_->push(image);
    } catch (...) {
      flights_.erase(place);
      throw;
    }
    return false;
  }
  Flight& flight = place->second;
  PendingImage& leader = *flight.leader;
  if (queue_->find(leader.id) == nullptr || !Urgency()(&image, &leader)) {
    followers_.emplace(image.id, &image);
    flight.last->twin = &image;
    flight.last = &image;
    return true;
  }
  followers_.emplace(leader.id, &leader);
  queue_->set_aside(leader);
  queue_->push(image);
  image.twin = &leader;
  flight.leader = &image;
  return true;
}

PendingImage* Twins::leave(PendingImage& image, MetricsObserver& observer) noexcept {
  if (!image.key) return nullptr;
  flights_.erase(*image.key);
  PendingImage* const twins = std::exchange(image.twin, nullptr);
  for (PendingImage* twin = twins; twin != nullptr; twin = twin->twin) {
    followers_.erase(twin->id);
    queue_->places().leave(twin->priority, twin->bytes);
    share_result(image.result, twin->result);
    twin->result.queue_us = microseconds_since(twin->submitted);
    twin->promise.judge(twin->result, twin->submitted, Clock::now());
    observer.recalled(*twin);
  }
  return twins;
}

void Twins::unlink(Flight& flight, PendingImage& follower) noexcept {
  PendingImage* before = flight.leader;
  while (before->twin != &follower) before = before->twin;
  before->twin = std::exchange(follower.twin, nullptr);
  if (flight.last == &follower) flight.last = before;
}

/// The leader does not go on: the most urgent of those behind it takes its turn.
void Twins::replace(Flight& flight) noexcept {
  PendingImage& old = *flight.leader;
  PendingImage* next = old.twin;
  for (PendingImage* one = next->twin; one != nullptr; one = one->twin) {
    if (Urgency()(one, next)) next = one;
  }
  unlink(flight, *next);
  next->twin = std::exchange(old.twin, nullptr);
  if (flight.last == &old) flight.last = next;
  flight.leader = next;
  followers_.erase(next->id);
  queue_->push(*next);
}

void Twins::part(PendingImage& image) noexcept {
  if (image.twin != nullptr) {
    replace(flights_.find(*image.key)->second);
  } else if (image.key) {
    flights_.erase(*image.key);
  }
}

PendingImage* Twins::take_back(std::uint64_t id) noexcept {
  if (PendingImage* const image = queue_->find(id)) {
    queue_->remove(*image);
    part(*image);
    return image;
  }
  const auto found = followers_.find(id);
  if (found == followers_.end()) return nullptr;
  PendingImage& image = *found->second;
  unlink(flights_.find(*image.key)->second, image);
  followers_.erase(found);
  queue_->places().leave(image.priority, image.bytes);
  return &image;
}

}  // namespace navit_edge
