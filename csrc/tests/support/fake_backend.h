// What the fake backend counts, for the tests that open it. Its options, from the manifest or the caller:
//   refuse: TEXT        the probe fails with TEXT
//   fail_open: TEXT     opening fails with TEXT
//   fail_on_run: K      the K-th run of an engine (from 0) fails when it is done
//   fail_early_on_run: K  the K-th run of an engine fails as soon as another is in flight, without stalling
//   stall_us: N         a run takes at least this long; with us_per_token: M, M longer for each token
//   lend_bytes: N       each input of each slot has this much memory of the engine's
//   report_bytes: N     the report is longer by this much
//   wait_for_runs: N    a run ends only when N runs of all engines have begun since the counters were reset, or after
//                       ten seconds, which is counted
//   wait_for_ends: N    the same for runs that have ended
//   most_slots: N       opening with more fails, as for want of memory; with refuse_slots_after_us: M, M later
//   fail_from: K        run K of an engine and all after it fail; with fail_count: N, N of them
//   fail_every: N       every N-th run of an engine fails
//   stall_on_run: K     run K of an engine does not come back before fake_backend_release
//   stall_every: N      the same for every N-th
//   wrong_shape_on_run: K  the engine finds another shape than its own, and refuses
//   nan_on_run: K       the run gives NaN in all images, or in that of option nan_image; in all outputs, or in that of
//                       option nan_output; nan_every: N for every N-th run
//   logit_divisor: N    logits are divided by N, a power of 2, so that their softmax is not 0 or 1
//   NAME@D: VALUE       the option NAME for device D of a session only: the number of a GPU, or a list of cores
//   tokens: T           T of the only packs it takes, as an engine with one fixed profile
#pragma once

#include <cstdint>

struct FakeStats {
  std::int32_t opened;  // engines
  std::int32_t closed;
  std::int32_t runs;
  std::int32_t most_in_flight;  // runs of one engine at once
  std::int32_t slots_of_last_open;
  std::int32_t threads_of_last_open;
  std::int32_t misuse;                 // a slot that does not exist or is in use
  std::int32_t ended;                  // runs that returned or failed
  std::int32_t most_in_flight_of_all;  // runs of all engines at once
  std::int32_t gave_up;                // of wait_for_runs and wait_for_ends
  std::int32_t lent_inputs;            // inputs of runs that lay in memory lent by the engine
};

/// Exported as "fake_backend_stats"; reset where `reset` is not 0.
using FakeStatsFn = void (*)(FakeStats* out, std::int32_t reset);

/// Exported as "fake_backend_release": runs that have begun and stall come back, those that begin later do not.
using FakeReleaseFn = void (*)();
