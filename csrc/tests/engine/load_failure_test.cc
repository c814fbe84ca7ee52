// What is said of a backend that did not load: one line, what was found and wanted, and the remedy of who asks.
#include "engine/load_failure.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include "support/check.h"
#include "support/temp_dir.h"

using namespace navit_edge;

namespace {

const std::string kPlugin = "/opt/app/libnavit_edge_openvino.so";
const std::string kMissing = "libopenvino.so.2641: cannot open shared object file: No such file or directory";

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a release of OpenVINO is read from the name of its library") {
  CHECK(openvino_release("libopenvino.so.2641") == "2026.4.1");
  CHECK(openvino_release("libopenvino.so.2530") == "2025.3.0");
  for (const char* other : {"libopenvino.so", "libopenvino.so.9", "libopenvino_c.so.2641", "libopenvino.so.26a1"}) {
    CHECK(openvino_release(other).empty());
  }
}

TEST_CASE("an OpenVINO of another release is named beside the one that is needed") {
  const TempDir dir;
  std::ofstream(dir.path() / "libopenvino.so.2530") << "a library";
  std::ofstream(dir.path() / "libopenvino_c.so.2530") << "another";
  const std::string expected =
      "backend 'openvino' did not load: it needs OpenVINO 2026.4.1 (libopenvino.so.2641); found "
      "OpenVINO 2025.3.0 (" +
      (dir.path() / "libopenvino.so.2530").string() + "); ";
  BackendSearch search;
  search.vendor_dirs = {"/nowhere", dir.path()};
  CHECK(load_failure("openvino", search, {{kPlugin, kMissing}}).starts_with(expected));
  search.vendor_dirs.clear();
  ::setenv("LD_LIBRARY_PATH", ("/nowhere:" + dir.path().string()).c_str(), 1);
  CHECK(load_failure("openvino", search, {{kPlugin, kMissing}}).starts_with(expected));
  ::unsetenv("LD_LIBRARY_PATH");
}

TEST_CASE("a program in C++ is told of the loader and of vendor_dirs, not of pip; others give their own words") {
  BackendSearch search;
  for (const char* backend : {"openvino", "tensorrt", "tensorrt-rtx", "another"}) {
    CHECK(!contains(load_failure(backend, search, {}), "pip"));
  }
  const std::string said = load_failure("openvino", search, {{kPlugin, kMissing}});
  CHECK(contains(said, "OpenVINO 2026.4.1"));
  CHECK(contains(said, "LD_LIBRARY_PATH"));
  CHECK(contains(said, "vendor_dirs"));
  search.install["openvino"] = "ask the administrator";
  CHECK(load_failure("openvino", search, {{kPlugin, kMissing}}).ends_with("; ask the administrator"));
}

TEST_CASE("a library that is there and damaged is named with the loader's reason") {
  const Attempts attempts = {{"/nowhere/vendor", "No such file or directory"},
                             {"/x/libopenvino.so.2641", "invalid ELF header"},
                             {"/a/libnavit_edge_openvino.so", kNoSuchFile},
                             {kPlugin, kMissing}};
  CHECK(load_failure("openvino", {}, attempts)
            .starts_with("backend 'openvino' did not load: /x/libopenvino.so.2641: invalid ELF header; "));
  CHECK(load_failure("openvino", {}, {{kPlugin, "file too short"}}) ==
        "backend 'openvino' did not load: " + kPlugin + ": file too short; install navit-edge again");
  const std::string old =
      "it speaks version 2; expected version 3 of the backend ABI; rebuild it against this navit-edge";
  CHECK(load_failure("openvino", {}, {{kPlugin, old}}) == "backend 'openvino' did not load: " + kPlugin + ": " + old);
}

TEST_CASE("what was tried comes behind the line, and only if it is asked for") {
  const Attempts attempts = {{"/a/libnavit_edge_openvino.so", kNoSuchFile}, {kPlugin, kMissing}};
  const std::string line = load_failure("openvino", {}, attempts);
  CHECK(!contains(line, "\n"));
  ::setenv("NAVIT_EDGE_DEBUG", "1", 1);
  CHECK(load_failure("openvino", {}, attempts) ==
        line + "\ntried:\n  /a/libnavit_edge_openvino.so: no such file\n  " + kPlugin + ": " + kMissing);
  ::unsetenv("NAVIT_EDGE_DEBUG");
}
