// What the fake backend counts, for the tests that open it. Its options, from the manifest or the caller:
//   refuse: TEXT        the probe fails with TEXT
//   fail_open: TEXT     opening fails with TEXT
//   fail_on_run: K      the K-th run of an engine (from 0) fails
//   stall_us: N         a run takes at least this long
//   lend_bytes: N       each input of each slot has this much memory of the engine's
//   report_bytes: N     the report is longer by this much
#pragma once

#include <cstdint>

struct FakeStats {
  std::int32_t opened;  // engines
  std::int32_t closed;
  std::int32_t runs;
  std::int32_t most_in_flight;  // runs of one engine at once
  std::int32_t slots_of_last_open;
  std::int32_t threads_of_last_open;
  std::int32_t misuse;  // a slot that does not exist or is in use
};

/// Exported as "fake_backend_stats"; reset where `reset` is not 0.
using FakeStatsFn = void (*)(FakeStats* out, std::int32_t reset);
