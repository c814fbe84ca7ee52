#include "session/queue.h"

#include <utility>

namespace navit_edge {

PendingImage& Queue::blank() {
  if (spare_ == nullptr) {
    if (all_.size() == order_nodes_.capacity()) {  // so that `remove` cannot throw
      order_nodes_.reserve(2 * all_.size() + 64);
      id_nodes_.reserve(order_nodes_.capacity());
    }
    return all_.emplace_back();
  }
  PendingImage& image = *spare_;
  spare_ = image.behind;
  image.behind = nullptr;
  return image;
}

void Queue::recycle(PendingImage& image) noexcept {
  image.before = nullptr;
  image.behind = spare_;
  spare_ = &image;
}

void Queue::push(PendingImage& image) {
  image.stepped_back = false;
  if (order_nodes_.empty()) {
    const auto place = order_.insert(&image).first;
    try {
      ids_.emplace(image.id, &image);
    } catch (...) {
      order_.erase(place);
      throw;
    }
  } else {
    Order::node_type place = std::move(order_nodes_.back());
    order_nodes_.pop_back();
    place.value() = &image;
    order_.insert(std::move(place));
    Ids::node_type id = std::move(id_nodes_.back());
    id_nodes_.pop_back();
    id.key() = image.id;
    id.mapped() = &image;
    ids_.insert(std::move(id));  // no more buckets than there have been: nothing is allocated
  }
  image.before = newest_;
  image.behind = nullptr;
  (newest_ != nullptr ? newest_->behind : oldest_) = &image;
  newest_ = &image;
  work_us_ = (order_.size() == 1 ? 0.0 : work_us_) + image.share_us;
}

void Queue::remove(PendingImage& image) noexcept {
  set_aside(image);
  places_.leave(image.priority, image.bytes);
}

void Queue::set_aside(PendingImage& image) noexcept {
  order_nodes_.push_back(order_.extract(&image));
  id_nodes_.push_back(ids_.extract(image.id));
  (image.before != nullptr ? image.before->behind : oldest_) = image.behind;
  (image.behind != nullptr ? image.behind->before : newest_) = image.before;
  image.before = image.behind = nullptr;
  work_us_ -= image.share_us;
}

void Queue::put_back(PendingImage& image, Clock::time_point due) noexcept {
  Order::node_type place = order_.extract(&image);
  image.due = due;
  image.stepped_back = true;
  order_.insert(std::move(place));
}

PendingImage* Queue::find(std::uint64_t id) const {
  const auto found = ids_.find(id);
  return found == ids_.end() ? nullptr : found->second;
}

}  // namespace navit_edge
