#include "session/completion_queue.h"

#include <new>
#include <utility>

namespace navit_edge {

void CompletionQueue::put(PendingImage& image) {
  image.behind = nullptr;
  ++size_;
  {
    const std::lock_guard lock(mutex_);
    (last_ != nullptr ? last_->behind : first_) = &image;
    last_ = &image;
  }
  changed_.notify_one();
}

void CompletionQueue::put_twins(PendingImage* first) {
  while (first != nullptr) {
    PendingImage& image = *first;
    first = std::exchange(image.twin, nullptr);  // before the image is another thread's
    put(image);
  }
}

void CompletionQueue::release(const std::vector<PendingImage*>& images) noexcept {
  bool any = false;
  {
    const std::lock_guard lock(mutex_);
    for (PendingImage* image : images) {
      if (image->image.owner == nullptr || image->read_again) continue;
      try {
        owners_.push_back(std::move(image->image.owner));
      } catch (const std::bad_alloc&) {  // it goes with its result
        break;
      }
      any = true;
    }
  }
  if (any) changed_.notify_one();
}

void CompletionQueue::finish() {
  {
    const std::lock_guard lock(mutex_);
    finishing_ = true;
  }
  changed_.notify_one();
}

void CompletionQueue::deliver(PendingImage& image) noexcept {
  image.image = {};
  try {
    image.done(std::move(image.result));
  } catch (...) {
    ++threw_;
  }
  image.clear();
}

void CompletionQueue::serve(const TakeBack& take_back) {
  std::vector<std::shared_ptr<const void>> owners;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return first_ != nullptr || !owners_.empty() || finishing_; });
    if (first_ == nullptr && owners_.empty()) return;
    PendingImage* const first = std::exchange(first_, nullptr);
    last_ = nullptr;
    owners.swap(owners_);
    lock.unlock();
    owners.clear();
    std::size_t count = 0;
    for (PendingImage* image = first; image != nullptr; image = image->behind, ++count) deliver(*image);
    size_ -= count;
    if (count > 0) take_back(first, count);
    lock.lock();
  }
}

}  // namespace navit_edge
