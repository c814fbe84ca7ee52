#include "base/machine_memory.h"

#include <fstream>
#include <string>

#include "support/check.h"
#include "support/temp_dir.h"

using namespace navit_edge;

namespace {

void put(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

constexpr std::size_t kGib = std::size_t{1} << 30;

}  // namespace

TEST_CASE("without a group's limit there is the machine's memory and swap") {
  const TempDir root;
  put(root.path() / "proc/meminfo", "MemTotal:  8388608 kB\nMemFree:  1 kB\nSwapTotal:  2097152 kB\n");
  CHECK(machine_memory_bytes(root.path()) == 10 * kGib);
  put(root.path() / "proc/self/cgroup", "0::/a/b\n");
  put(root.path() / "sys/fs/cgroup/a/b/memory.max", "max\n");
  CHECK(machine_memory_bytes(root.path()) == 10 * kGib);
}

TEST_CASE("the lowest limit of the groups above the process counts, of either version") {
  const TempDir root;
  put(root.path() / "proc/meminfo", "MemTotal:  8388608 kB\nSwapTotal:  0 kB\n");
  put(root.path() / "proc/self/cgroup", "0::/a/b\n");
  put(root.path() / "sys/fs/cgroup/a/b/memory.max", "3221225472\n");
  put(root.path() / "sys/fs/cgroup/a/memory.max", "2147483648\n");
  CHECK(machine_memory_bytes(root.path()) == 2 * kGib);

  const TempDir old;
  put(old.path() / "proc/meminfo", "MemTotal:  8388608 kB\nSwapTotal:  0 kB\n");
  put(old.path() / "proc/self/cgroup", "5:cpu:/x\n4:pids,memory:/x\n");
  put(old.path() / "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1073741824\n");
  CHECK(machine_memory_bytes(old.path()) == kGib);
}

TEST_CASE("where nothing says how much there is, nothing is refused") {
  const TempDir root;
  CHECK(machine_memory_bytes(root.path()) > std::size_t{1} << 60);
  CHECK(machine_memory_bytes() > 0);
}
