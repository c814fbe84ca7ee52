// Time that an engine is held counts as far as the process ran: on a clock of the test's own, and in a process that is
// stopped and goes on.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <future>
#include <thread>

#include "session/stall_clock.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;
using namespace std::chrono_literals;

namespace {

constexpr double kMinuteUs = 60e6;
constexpr double kStopTimeoutS = 3;

/// In the child: a session whose engine is held while the parent stops this process. 0 where the image got its result.
int run_while_stopped(int to_parent, int from_parent) {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_on_run", "0"}};
  SessionOptions session_options = options(1);
  session_options.stall_timeout_s = kStopTimeoutS;
  Session session(bundle.write(), session_options);
  const Picture picture(1, 20, 30);
  std::future<Result> result = session.submit({picture.view, nullptr}).result;
  if (!eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; })) return 2;
  char byte = 1;
  if (::write(to_parent, &byte, 1) != 1) return 3;
  if (::read(from_parent, &byte, 1) != 1) return 4;  // it has been stopped and goes on
  release_stalls();
  try {
    if (result.get().error != nullptr) return 5;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 6;
  }
  return session.broken().empty() ? 0 : 7;
}

}  // namespace

// First: nothing of the library has run in this process yet when it forks.
TEST_CASE("a process that is stopped for longer than the stall timeout gets its result when it goes on") {
  std::array<int, 2> up{};
  std::array<int, 2> down{};
  REQUIRE(::pipe(up.data()) == 0);
  REQUIRE(::pipe(down.data()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(100);
    ::_exit(run_while_stopped(up[1], down[0]));
  }
  ::close(up[1]);
  char byte = 0;
  REQUIRE(::read(up[0], &byte, 1) == 1);
  ::kill(child, SIGSTOP);
  int status = 0;
  REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
  REQUIRE(WIFSTOPPED(status));
  std::this_thread::sleep_for(std::chrono::duration<double>(1.25 * kStopTimeoutS));
  ::kill(child, SIGCONT);
  REQUIRE(::write(down[1], &byte, 1) == 1);
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  for (const int fd : {up[0], down[0], down[1]}) ::close(fd);
}

TEST_CASE("a clock that is looked at in time counts what goes by") {
  StallClock clock(kMinuteUs);
  Clock::time_point now{5h};
  Clock::duration held = clock.look(now);
  CHECK(held == Clock::duration{});
  for (int look = 0; look < 60; ++look) held += clock.look(now += clock.step());
  CHECK(held == 60 * clock.step());
  CHECK(clock.step() <= 1s);
  CHECK(clock.timeout() == 1min);
}

TEST_CASE("however long a process is stopped, and however far its clock jumps, an engine ages by two steps at most") {
  for (const double timeout_us : {2e3, 1e6, kMinuteUs, 1e12, 1e300}) {
    StallClock clock(timeout_us);
    Clock::time_point now{5h};
    (void)clock.look(now);
    for (const Clock::duration jump : {Clock::duration(30s), Clock::duration(24h), Clock::duration(24h * 3650)}) {
      const Clock::duration aged = clock.look(now += jump);
      CHECK(aged <= 2 * clock.step());
      CHECK(aged < clock.timeout());
    }
    CHECK(clock.look(now -= 48h) == Clock::duration{});
    CHECK(clock.look(now += clock.step()) == clock.step());
  }
}
