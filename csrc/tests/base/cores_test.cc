// Cores that a process can keep busy: quotas of control groups, in trees of files laid out as cgroups(7) says.
#include "navit_edge/cores.h"

#include <sched.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "support/check.h"
#include "support/temp_dir.h"

using namespace navit_edge;

namespace {

struct Machine : TempDir {
  const Machine& with(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((path() / file).parent_path());
    std::ofstream(path() / file, std::ios::binary) << text;
    return *this;
  }
  [[nodiscard]] std::optional<double> quota() const { return cpu_limits(path()).quota_cores; }
};

int cores_of(int affinity, std::optional<double> quota) { return CpuLimits{affinity, quota}.cores(); }

}  // namespace

TEST_CASE("recorded machines: containers, slices, cpusets, hyper-threads, NUMA nodes, broken files") {
  const auto corpus = nlohmann::json::parse(std::ifstream(NAVIT_EDGE_MACHINES));
  for (const auto& one : corpus["machines"]) {
    const Machine machine;
    for (const auto& [file, text] : one["files"].items()) machine.with(file, text.get<std::string>());
    for (const std::string siblings : one["siblings"]) {
      std::stringstream list(siblings);
      const char separator = siblings.find('-') == std::string::npos ? ',' : '-';  // of two, each stands in the list
      for (std::string processor; std::getline(list, processor, separator);) {
        machine.with("sys/devices/system/cpu/cpu" + processor + "/topology/thread_siblings_list", siblings + "\n");
      }
    }
    const CpuLimits limits = cpu_limits(machine.path());
    nlohmann::json found = {{"affinity", limits.affinity}, {"quota_cores", nullptr},  {"physical", limits.physical},
                            {"numa_nodes", limits.nodes},  {"cores", limits.cores()}, {"words", limits.words()}};
    if (limits.quota_cores) found["quota_cores"] = *limits.quota_cores;
    // Told by name: the check itself does not say which machine it is of.
    if (found != one["expect"]) std::printf("%s: %s\n", one["name"].dump().c_str(), found.dump().c_str());
    CHECK(found == one["expect"]);
  }
}

TEST_CASE("the topology's newer name counts, too") {
  const Machine machine;
  machine.with("proc/self/status", "Cpus_allowed_list:\t0-1\n");
  machine.with("sys/devices/system/cpu/cpu0/topology/core_cpus_list", "0-1\n");
  CHECK(cpu_limits(machine.path()).physical == 1);
}

TEST_CASE("a number that somebody named is the reason for itself") {
  CHECK(CpuLimits{64, 2.0}.words(3) == "3 threads: as asked for");
  CHECK(CpuLimits{1, 0.25}.words() == "1 thread: cgroup quota 0.25 of 1 core");
}

TEST_CASE("without control groups, or with groups that set nothing, the affinity is all there is") {
  CHECK(!Machine().quota());
  const Machine machine;
  machine.with("proc/self/cgroup", "0::/a/b\n").with("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  machine.with("sys/fs/cgroup/a/cpu.max", "max\n").with("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  machine.with("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  CHECK(!machine.quota());
  cpu_set_t set;
  CPU_ZERO(&set);
  REQUIRE(::sched_getaffinity(0, sizeof(set), &set) == 0);
  CHECK(cpu_limits(machine.path()).affinity == CPU_COUNT(&set));
  CHECK(cpu_limits(machine.path()).cores() <= CPU_COUNT(&set));  // hyper-threads count once
}

TEST_CASE("the least quota of a group and of all above it counts, in version 2") {
  const Machine machine;
  machine.with("proc/self/cgroup", "0::/a/b/c\n").with("sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
  CHECK(machine.quota() == 4.0);
  machine.with("sys/fs/cgroup/a/cpu.max", "75000 50000\n");
  CHECK(machine.quota() == 1.5);
  machine.with("sys/fs/cgroup/cpu.max", "10000 100000\n");
  CHECK(machine.quota() == 0.1);
  machine.with("sys/fs/cgroup/a/other/cpu.max", "1000 100000\n");  // not above it
  CHECK(machine.quota() == 0.1);
}

TEST_CASE("version 1 is read wherever its cpu controller is mounted") {
  for (const char* mount : {"cpu", "cpu,cpuacct", "cpuacct,cpu"}) {
    const Machine machine;
    const std::string folder = std::string("sys/fs/cgroup/") + mount + "/docker/x/";
    machine.with("proc/self/cgroup", "9:memory:/docker/y\n5:cpu,cpuacct:/docker/x/z\n1:name=systemd:/\n0::/\n");
    machine.with(folder + "cpu.cfs_quota_us", "250000\n").with(folder + "cpu.cfs_period_us", "100000\n");
    CHECK(machine.quota() == 2.5);
  }
}

TEST_CASE("a group that only the host sees under its name is found at the top of the mount") {
  const Machine machine;
  machine.with("proc/self/cgroup", "3:cpu,cpuacct:/docker/abc\n0::/system.slice/docker-abc.scope\n");
  machine.with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
  machine.with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK(machine.quota() == 3.0);
  machine.with("sys/fs/cgroup/unified/cpu.max", "200000 100000\n");
  CHECK(machine.quota() == 2.0);
}

TEST_CASE("mounts elsewhere are those that mountinfo names, for the controller that counts") {
  const Machine machine;
  machine.with("proc/self/cgroup", "2:cpu:/a\n0::/a\n");
  machine.with("proc/self/mountinfo",
               "30 20 0:26 / /elsewhere/two rw,nosuid - cgroup2 cgroup2 rw\n"
               "31 20 0:27 / /elsewhere/memory rw shared:9 - cgroup cgroup rw,memory\n"
               "32 20 0:28 / /elsewhere/cpu rw shared:9 master:1 - cgroup cgroup rw,cpu\nnonsense\n\n");
  machine.with("elsewhere/memory/a/cpu.max", "1000 100000\n");
  CHECK(!machine.quota());
  machine.with("elsewhere/cpu/a/cpu.cfs_quota_us", "500000\n").with("elsewhere/cpu/a/cpu.cfs_period_us", "100000\n");
  CHECK(machine.quota() == 5.0);
  machine.with("elsewhere/two/a/cpu.max", "400000 100000\n");
  CHECK(machine.quota() == 4.0);
}

TEST_CASE("a group outside of the namespace and files full of nonsense limit nothing and end nothing") {
  const Machine machine;
  machine.with("proc/self/cgroup", "0::/../../b\n:\n::\n4:cpu\n\n");
  for (const char* text : {"", "\n", "1e5 100000\n", "100000 0\n", "0 100000\n", "99999999999999999999 100000\n",
                           "100000 100000 7\n", "-5 100000\n"}) {
    machine.with("sys/fs/cgroup/cpu.max", text);
    CHECK(!machine.quota());
  }
  machine.with("sys/fs/cgroup/b/cpu.max", "100000 100000\n");
  CHECK(machine.quota() == 1.0);
  std::filesystem::remove(machine.path() / "sys/fs/cgroup/cpu.max");
  machine.with("sys/fs/cgroup/cpu.max/a folder", "");
  CHECK(machine.quota() == 1.0);
}

TEST_CASE("a quota is rounded down to whole cores, at least one, and never beyond the affinity") {
  CHECK(cores_of(8, std::nullopt) == 8);
  CHECK(cores_of(8, 1.0) == 1);
  CHECK(cores_of(8, 1.99) == 1);
  CHECK(cores_of(8, 2.0) == 2);
  CHECK(cores_of(8, 7.5) == 7);
  CHECK(cores_of(8, 0.1) == 1);
  CHECK(cores_of(8, 8.0) == 8);
  CHECK(cores_of(2, 64.0) == 2);
  CHECK(cores_of(1, 1e300) == 1);
}
