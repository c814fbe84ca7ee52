// Memory of packs' outputs, used again when the last result that views it is gone.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "navit_edge/manifest.h"
#include "navit_edge/pack.h"

namespace navit_edge {

struct OutputSet;

/// The outputs of one pack, while it runs and until its results are made. Moves only.
class OutputLease {
 public:
  OutputLease(OutputLease&&) noexcept = default;
  OutputLease& operator=(OutputLease&& other) noexcept;
  ~OutputLease();

  /// In the order of GraphSpec::outputs, with the shapes of the pack; what they hold before the run is unspecified.
  [[nodiscard]] std::span<HostTensor> tensors() const noexcept;
  /// The same for results to keep. The set goes back to its pool when the lease and all copies of these are gone.
  [[nodiscard]] std::span<const std::shared_ptr<const HostTensor>> shared() const noexcept;

 private:
  friend class OutputPool;
  explicit OutputLease(std::shared_ptr<OutputSet> set) noexcept : set_(std::move(set)) {}
  void end() noexcept;
  std::shared_ptr<OutputSet> set_;
};

/// `reserve` sets of outputs, each with memory for the largest pack. They are handed out again and again without an
/// allocation, counters of shared pointers included. If all are with results that are kept, or wait to be read,
/// extra sets are allocated, of less than twice their pack's bytes: so the pool grows with what is kept. Of those that
/// come back up to 32, and no more than the reserve in bytes, are kept for packs of about their size, until 1,000 packs
/// have not needed them: so it shrinks to its reserve. Thread-safe. Results may outlive the pool: then each
/// keeps its own set, and no other.
class OutputPool {
 public:
  /// Throws std::bad_alloc.
  OutputPool(const GraphSpec& graph, const Budget& largest, std::size_t reserve);
  OutputPool(OutputPool&&) noexcept = default;
  OutputPool& operator=(OutputPool&& other) noexcept;
  ~OutputPool();

  /// Outputs for `pack`, of which T, N and L count. Throws std::bad_alloc.
  [[nodiscard]] OutputLease take(const Pack& pack);

  struct Stats {
    std::size_t reserve = 0;  // sets
    std::size_t free = 0;     // of the reserve
    std::size_t extra = 0;    // beyond the reserve, in use
    std::size_t kept = 0;     // beyond the reserve, free
    std::size_t bytes = 0;    // of all
  };
  [[nodiscard]] Stats stats() const;

  struct State;  // what sets that are out keep alive

 private:
  std::shared_ptr<State> state_;
};

}  // namespace navit_edge
