#include "stream/stream_state.h"

#include <algorithm>
#include <utility>

namespace navit_edge {

bool Stream::State::full(std::size_t more) const {
  const std::size_t most = options.capacity_bytes;
  return entries.size() >= capacity || (most > 0 && bytes > 0 && bytes + more > most);
}

bool Stream::State::ready() const {
  if (!options.ordered) return first_done != nullptr;
  return !entries.empty() && entries.begin()->second.phase == Entry::Phase::kDone;
}

Result Stream::State::take() {
  auto found = entries.begin();
  if (!options.ordered) {
    found = entries.find(first_done->push);
    unlink_done(*first_done);
  }
  Result taken = std::move(found->second.result);
  entries.erase(found);
  space.notify_all();
  return taken;
}

void Stream::State::complete(std::uint64_t push, Result&& result) {
  const std::lock_guard lock(mutex);
  const auto found = entries.find(push);
  if (found == entries.end()) return;  // it was dropped, or the stream was cancelled
  Entry& entry = found->second;
  entry.result = std::move(result);
  entry.complete = true;
  waiting.erase(push);
  if (entry.phase != Entry::Phase::kGivingWay) settle(push, entry);  // else whoever cancels it decides
}

void Stream::State::unlink_done(Entry& entry) noexcept {
  Entry* before = nullptr;
  for (Entry* one = first_done; one != &entry; one = one->behind) before = one;
  (before != nullptr ? before->behind : first_done) = entry.behind;
  if (last_done == &entry) last_done = before;
}

/// Hands a complete entry to `pop`.
void Stream::State::settle(std::uint64_t push, Entry& entry) {
  entry.phase = Entry::Phase::kDone;
  bytes -= std::exchange(entry.bytes, 0);
  if (!options.ordered) {
    entry.push = push;
    entry.behind = nullptr;
    (last_done != nullptr ? last_done->behind : first_done) = &entry;
    last_done = &entry;
  }
  available.notify_all();
  space.notify_all();
}

bool Stream::State::forget(std::uint64_t push) {
  const auto found = entries.find(push);
  if (found == entries.end()) return false;
  bytes -= found->second.bytes;
  waiting.erase(push);
  entries.erase(found);
  available.notify_all();  // the one after it may be next, or the stream over
  space.notify_all();
  return true;
}

bool Stream::State::drop_oldest(Session& session, std::unique_lock<std::mutex>& lock,
                                std::vector<std::uint64_t>& tags) {
  while (!waiting.empty()) {
    const std::uint64_t push = *waiting.begin();
    waiting.erase(waiting.begin());
    Entry& oldest = entries.at(push);
    const std::uint64_t id = oldest.id;
    const std::uint64_t of = oldest.tag;
    oldest.phase = Entry::Phase::kGivingWay;
    lock.unlock();  // the session may call back from inside of `cancel`
    const bool gone = session.cancel(id);
    lock.lock();
    const auto found = entries.find(push);
    if (found == entries.end()) return true;  // the stream was cancelled: `admit` sees it
    if (gone) {
      forget(push);
      ++dropped;
      tags.push_back(of);
      return true;
    }
    found->second.phase = Entry::Phase::kBegun;  // it runs: too late
    if (found->second.complete) settle(push, found->second);
  }
  for (auto& [push, entry] : entries) {
    if (entry.phase != Entry::Phase::kDone) continue;
    tags.push_back(entry.tag);
    ++dropped;
    if (!options.ordered) unlink_done(entry);
    forget(push);
    return true;
  }
  return false;
}

Pushed Stream::State::admit(Session& session, std::size_t more, std::uint64_t tag, std::uint64_t& push) {
  std::vector<std::uint64_t> tags;
  Pushed outcome = Pushed::kTaken;
  {
    std::unique_lock lock(mutex);
    while (outcome == Pushed::kTaken && full(more) && !ended()) {
      if (options.drop == DropPolicy::kBlock) {
        space.wait(lock, [&] { return ended() || !full(more); });
      } else if (options.drop == DropPolicy::kDropNewest || !drop_oldest(session, lock, tags)) {
        ++dropped;
        tags.push_back(tag);
        outcome = Pushed::kDropped;
      }
    }
    if (outcome == Pushed::kTaken && ended()) outcome = Pushed::kEnded;
    if (outcome == Pushed::kTaken) {
      push = pushes++;
      Entry& entry = entries[push];
      entry.tag = tag;
      entry.bytes = more;
      bytes += more;
    }
  }
  report(session, tags);
  return outcome;
}

void Stream::State::report(Session& session, const std::vector<std::uint64_t>& tags) const {
  for (const std::uint64_t tag : tags) session.count_dropped(tag);
  if (!options.on_drop) return;
  for (const std::uint64_t tag : tags) options.on_drop(tag);
}

}  // namespace navit_edge
