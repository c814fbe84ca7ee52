#include "output_pool.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include "arena.h"
#include "memory_plan.h"

namespace navit_edge {
namespace {

constexpr std::size_t kControlBytes = 64;  // of a shared pointer's counters; 32 in libstdc++

}  // namespace

struct OutputSet {
  Arena memory;
  std::vector<HostTensor> tensors;
  std::vector<std::shared_ptr<const HostTensor>> shared;  // filled while a lease holds the set
  bool reserved = true;
  std::size_t bytes = 0;
  OutputSet* next = nullptr;                // in the pool's list of free ones
  std::shared_ptr<OutputPool::State> pool;  // while it is out
  alignas(std::max_align_t) std::array<std::byte, kControlBytes> control{};
};

struct OutputPool::State {
  explicit State(const GraphSpec& graph) : outputs(graph.outputs) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    while (free != nullptr) delete std::exchange(free, free->next);
  }

  std::unique_ptr<OutputSet> make() const {
    auto set = std::make_unique<OutputSet>();
    set->tensors.reserve(outputs.size());
    for (const TensorSpec& spec : outputs) set->tensors.emplace_back(spec.name, spec.dtype);
    set->shared.reserve(outputs.size());
    return set;
  }

  /// Last of all users of a set: nobody else knows it any more.
  static void give_back(OutputSet* set) noexcept {
    const std::shared_ptr<State> state = std::move(set->pool);
    std::unique_ptr<OutputSet> extra;  // freed without the mutex
    const std::lock_guard lock(state->mutex);
    if (set->reserved) {
      set->next = state->free;
      state->free = set;
      ++state->free_count;
    } else {
      --state->extra;
      state->bytes -= set->bytes;
      extra.reset(set);
    }
  }

  const std::vector<TensorSpec> outputs;
  std::size_t reserve = 0;
  mutable std::mutex mutex;
  OutputSet* free = nullptr;  // the last that came back first: its pages are warm
  std::size_t free_count = 0;
  std::size_t extra = 0;
  std::size_t bytes = 0;
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

void shape_for(const TensorSpec& spec, const Pack& pack, HostTensor& tensor) {
  std::array<std::int64_t, 8> shape{};
  const std::size_t rank = std::min(spec.shape.size(), shape.size());
  for (std::size_t d = 0; d < rank; ++d) {
    const Dim& dim = spec.shape[d];
    shape[d] = dim.extent + (dim.symbol == 'T'   ? pack.tokens
                             : dim.symbol == 'N' ? pack.images
                             : dim.symbol == 'L' ? pack.longest
                                                 : 0);
  }
  tensor.resize({shape.data(), rank});
}

}  // namespace

OutputPool::OutputPool(const GraphSpec& graph, const Budget& largest, std::size_t reserve)
    : state_(std::make_shared<State>(graph)) {
  state_->reserve = reserve;
  for (std::size_t i = 0; i < reserve; ++i) {
    auto set = state_->make();
    set->memory = Arena(arena_bytes(graph.outputs, largest));
    set->bytes = set->memory.bytes();
    for (std::size_t t = 0; t < set->tensors.size(); ++t) {
      set->tensors[t].lend(set->memory.take(most_bytes(graph.outputs[t], largest)));
      set->tensors[t].reserve(0);
    }
    state_->bytes += set->bytes;
    set->next = state_->free;
    state_->free = set.release();
    ++state_->free_count;
  }
}

OutputLease OutputPool::take(const Pack& pack) {
  OutputSet* set = nullptr;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->free != nullptr) {
      set = std::exchange(state_->free, state_->free->next);
      --state_->free_count;
    }
  }
  if (set == nullptr) {
    auto made = state_->make();
    made->reserved = false;
    for (std::size_t t = 0; t < made->tensors.size(); ++t) {
      shape_for(state_->outputs[t], pack, made->tensors[t]);
      made->bytes += made->tensors[t].bytes();
    }
    set = made.release();
    const std::lock_guard lock(state_->mutex);
    ++state_->extra;
    state_->bytes += set->bytes;
  }
  set->pool = state_;
  OutputLease lease(std::shared_ptr<OutputSet>(set, [](OutputSet*) noexcept {}, InSet<OutputSet>(set)));
  for (std::size_t t = 0; t < set->tensors.size(); ++t) {
    shape_for(state_->outputs[t], pack, set->tensors[t]);
    set->shared.emplace_back(lease.set_, &set->tensors[t]);
  }
  return lease;
}

OutputPool::Stats OutputPool::stats() const {
  const std::lock_guard lock(state_->mutex);
  return {state_->reserve, state_->free_count, state_->extra, state_->bytes};
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
