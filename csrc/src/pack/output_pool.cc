#include "pack/output_pool.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "pack/memory_plan.h"

namespace navit_edge {
namespace {

constexpr std::size_t kControlBytes = 64;  // of a shared pointer's counters; 32 in libstdc++

}  // namespace

struct OutputSet {
  Arena memory;
  std::vector<HostTensor> tensors;
  std::vector<std::size_t> room;                          // [tensors] bytes each has
  std::vector<std::shared_ptr<const HostTensor>> shared;  // filled while a lease holds the set
  bool reserved = true;
  std::uint64_t given_back = 0;             // in packs of the pool
  OutputSet* next = nullptr;                // in one of the pool's lists
  std::shared_ptr<OutputPool::State> pool;  // while it is out
  alignas(std::max_align_t) std::array<std::byte, kControlBytes> control{};
};

/// A list of sets through the sets themselves, the last that came back first: its pages are warm.
class SetList {
 public:
  SetList() = default;
  SetList(const SetList&) = delete;
  SetList& operator=(const SetList&) = delete;
  ~SetList() { clear(); }

  void clear() noexcept {
    while (first_ != nullptr) delete pop(&first_);
  }

  void push(OutputSet& set) noexcept {
    set.next = first_;
    first_ = &set;
    ++size_;
    bytes_ += set.memory.bytes();
  }
  /// The first that `wanted` says true of, taken out; null if there is none.
  template <class Wanted>
  OutputSet* take(Wanted&& wanted) noexcept {
    for (OutputSet** link = &first_; *link != nullptr; link = &(*link)->next) {
      if (wanted(**link)) return pop(link);
    }
    return nullptr;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  OutputSet* pop(OutputSet** link) noexcept {
    OutputSet* const set = std::exchange(*link, (*link)->next);
    --size_;
    bytes_ -= set->memory.bytes();
    return set;
  }

  OutputSet* first_ = nullptr;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
};

namespace {

std::size_t bytes_of(const TensorSpec& spec, std::span<const std::int64_t> shape) {
  std::size_t bytes = element_bytes(spec.dtype);
  for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
  return bytes;
}

/// The shape of an output of `pack`, without memory of its own.
struct Shape {
  Shape(const TensorSpec& spec, const Pack& pack) : rank(std::min(spec.shape.size(), extents.size())) {
    for (std::size_t d = 0; d < rank; ++d) {
      extents[d] = extent_of(spec.shape[d], pack.tokens, pack.images, pack.longest);
    }
  }
  [[nodiscard]] std::span<const std::int64_t> all() const noexcept { return {extents.data(), rank}; }

  std::array<std::int64_t, 8> extents{};
  std::size_t rank;
};

}  // namespace

struct OutputPool::State {
  explicit State(const GraphSpec& graph) : outputs(graph.outputs) {}

  /// A set with room for what `bytes_for` says of each tensor.
  template <class BytesFor>
  std::unique_ptr<OutputSet> make(bool reserved, BytesFor&& bytes_for) const {
    auto set = std::make_unique<OutputSet>();
    set->reserved = reserved;
    set->tensors.reserve(outputs.size());
    set->shared.reserve(outputs.size());
    std::size_t total = 0;
    for (const TensorSpec& spec : outputs) {
      set->tensors.emplace_back(spec.name, spec.dtype);
      set->room.push_back(bytes_for(spec));
      total += Arena::rounded(set->room.back());
    }
    set->memory = Arena(total);
    for (std::size_t t = 0; t < set->tensors.size(); ++t) {
      set->tensors[t].lend(set->memory.take(set->room[t]));
      set->tensors[t].reserve(set->room[t]);  // of the lent memory nothing, of the shape all
    }
    return set;
  }

  /// Whether `set` holds the outputs of `pack`, and not much more: what results keep is theirs alone.
  [[nodiscard]] bool suits(const OutputSet& set, const Pack& pack) const {
    std::size_t needed = 0;
    for (std::size_t t = 0; t < outputs.size(); ++t) {
      const std::size_t bytes = bytes_of(outputs[t], Shape(outputs[t], pack).all());
      if (bytes > set.room[t]) return false;
      needed += bytes;
    }
    return set.memory.bytes() <= 4 * needed + 1024;
  }

  /// Last of all users of a set: nobody else knows it any more.
  static void give_back(OutputSet* set) noexcept {
    const std::shared_ptr<State> state = std::move(set->pool);
    std::array<std::unique_ptr<OutputSet>, 2> gone;  // freed without the mutex
    const std::lock_guard lock(state->mutex);
    if (state->closed) return gone[0].reset(set);
    if (set->reserved) return state->reserve.push(*set);
    --state->extra_out;
    state->extra_out_bytes -= set->memory.bytes();
    set->given_back = state->packs;
    if (state->extra.size() < kMostExtra && state->extra.bytes() + set->memory.bytes() <= state->reserved_bytes) {
      state->extra.push(*set);
    } else {
      gone[0].reset(set);
    }
    gone[1].reset(state->outdated());
  }

  /// No pack asks for a set any more.
  void close() noexcept {
    const std::lock_guard lock(mutex);
    closed = true;
    reserve.clear();
    extra.clear();
  }

  /// An extra set that no pack has asked for in a long time.
  OutputSet* outdated() noexcept {
    return extra.take([&](const OutputSet& set) { return packs - set.given_back > kPatience; });
  }

  static constexpr std::size_t kMostExtra = 32;
  static constexpr std::uint64_t kPatience = 1000;  // packs

  const std::vector<TensorSpec> outputs;
  std::size_t reserved_sets = 0;
  std::size_t reserved_bytes = 0;
  mutable std::mutex mutex;
  SetList reserve;  // those that are not out
  SetList extra;
  std::size_t extra_out = 0;
  std::size_t extra_out_bytes = 0;
  std::uint64_t packs = 0;
  bool closed = false;
};

namespace {

/// Lets a shared pointer keep its counters inside of the set that it owns. Giving them back is the last thing that the
/// pointers do with the set: later than their deleter, when another thread could not yet take it.
template <class T>
struct InSet {
  using value_type = T;
  explicit InSet(OutputSet* owned) noexcept : set(owned) {}
  template <class U>
  InSet(const InSet<U>& other) noexcept : set(other.set) {}

  T* allocate(std::size_t) noexcept {
    static_assert(sizeof(T) <= kControlBytes && alignof(T) <= alignof(std::max_align_t));
    return reinterpret_cast<T*>(set->control.data());
  }
  void deallocate(T*, std::size_t) noexcept { OutputPool::State::give_back(set); }
  template <class U>
  bool operator==(const InSet<U>& other) const noexcept {
    return set == other.set;
  }

  OutputSet* set;
};

}  // namespace

OutputPool::OutputPool(const GraphSpec& graph, const Budget& largest, std::size_t reserve)
    : state_(std::make_shared<State>(graph)) {
  state_->reserved_sets = reserve;
  for (std::size_t i = 0; i < reserve; ++i) {
    state_->reserve.push(
        *state_->make(true, [&](const TensorSpec& spec) { return most_bytes(spec, largest); }).release());
  }
  state_->reserved_bytes = state_->reserve.bytes();
}

OutputPool& OutputPool::operator=(OutputPool&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

OutputPool::~OutputPool() {
  if (state_ != nullptr) state_->close();
}

OutputLease OutputPool::take(const Pack& pack) {
  OutputSet* set = nullptr;
  std::unique_ptr<OutputSet> gone;  // freed without the mutex
  {
    const std::lock_guard lock(state_->mutex);
    ++state_->packs;
    set = state_->reserve.take([](const OutputSet&) { return true; });
    if (set == nullptr) {
      set = state_->extra.take([&](const OutputSet& one) { return state_->suits(one, pack); });
      if (set != nullptr) {
        ++state_->extra_out;
        state_->extra_out_bytes += set->memory.bytes();
      }
    }
    gone.reset(state_->outdated());
  }
  if (set == nullptr) {
    // Powers of two, so that the next pack of about this size can have it.
    auto made = state_->make(
        false, [&](const TensorSpec& spec) { return std::bit_ceil(bytes_of(spec, Shape(spec, pack).all())); });
    const std::lock_guard lock(state_->mutex);
    ++state_->extra_out;
    state_->extra_out_bytes += made->memory.bytes();
    set = made.release();
  }
  set->pool = state_;
  OutputLease lease(std::shared_ptr<OutputSet>(set, [](OutputSet*) noexcept {}, InSet<OutputSet>(set)));
  for (std::size_t t = 0; t < set->tensors.size(); ++t) {
    set->tensors[t].resize(Shape(state_->outputs[t], pack).all());
    set->shared.emplace_back(lease.set_, &set->tensors[t]);
  }
  return lease;
}

OutputPool::Stats OutputPool::stats() const {
  const std::lock_guard lock(state_->mutex);
  return {state_->reserved_sets, state_->reserve.size(), state_->extra_out, state_->extra.size(),
          state_->reserved_bytes + state_->extra_out_bytes + state_->extra.bytes()};
}

OutputLease& OutputLease::operator=(OutputLease&& other) noexcept {
  end();
  set_ = std::move(other.set_);
  return *this;
}

OutputLease::~OutputLease() { end(); }

void OutputLease::end() noexcept {
  if (set_ != nullptr) set_->shared.clear();  // the set would keep itself
  set_.reset();
}

std::span<HostTensor> OutputLease::tensors() const noexcept { return set_->tensors; }

std::span<const std::shared_ptr<const HostTensor>> OutputLease::shared() const noexcept { return set_->shared; }

}  // namespace navit_edge
