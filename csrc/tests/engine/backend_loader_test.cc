#include <cstdlib>
#include <fstream>
#include <string>

#include "navit_edge/engine.h"
#include "navit_edge/error.h"
#include "support/check.h"
#include "support/temp_dir.h"

using namespace navit_edge;

namespace {

// Directories with one library each, laid out by CMakeLists.txt.
const std::filesystem::path kFakes = FAKE_BACKEND_DIR;

BackendSearch in(const std::filesystem::path& directory) {
  BackendSearch search;
  search.explicit_dirs = {directory};
  return search;
}

std::string load_error(const std::string& name, const BackendSearch& search) {
  try {
    (void)Backend::load(name, search);
  } catch (const BackendError& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a backend that is nowhere is one line, and with NAVIT_EDGE_DEBUG every path that was tried and why") {
  const std::string line = load_error("missing-one", in("/nowhere/explicit"));
  CHECK(line.starts_with("backend 'missing-one' did not load: its plug-in libnavit_edge_missing_one.so is not here; "));
  CHECK(!contains(line, "\n"));
  ::setenv("NAVIT_EDGE_BACKEND_DIR", "/nowhere/one::relative/dir:/nowhere/two", 1);
  ::setenv("NAVIT_EDGE_DEBUG", "1", 1);
  const std::string error = load_error("missing-one", in("/nowhere/explicit"));
  ::unsetenv("NAVIT_EDGE_BACKEND_DIR");
  ::unsetenv("NAVIT_EDGE_DEBUG");
  CHECK(error.starts_with(line + "\ntried:\n"));
  for (const char* path : {"/nowhere/explicit", "/nowhere/one", "/nowhere/two"}) {
    CHECK(contains(error, std::string(path) + "/libnavit_edge_missing_one.so: no such file"));
  }
  CHECK(contains(error, "relative/dir: relative directories"));
  CHECK(error.find("/nowhere/explicit") < error.find("/nowhere/one"));
  CHECK(error.find("/nowhere/one") < error.find("/nowhere/two"));
  CHECK(contains(error, "NAVIT_EDGE_BACKEND_DIR"));
}

TEST_CASE("the working directory is not searched") {
  const TempDir dir;
  std::filesystem::copy_file(kFakes / "libnavit_edge_fake.so", dir.path() / "libnavit_edge_here.so");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  const std::string error = load_error("here", {});
  std::filesystem::current_path(before);
  CHECK(contains(error, "did not load"));
  CHECK(!contains(error, dir.path().string()));
}

TEST_CASE("libraries that are no backend, or speak another ABI, say so") {
  CHECK(contains(load_error("fake-old", in(kFakes)), "speaks version 0; expected version 3"));
  CHECK(contains(load_error("fake-refusing", in(kFakes)), "does not speak this ABI; expected version 3"));
  CHECK(contains(load_error("fake-earlier", in(kFakes)),
                 "it speaks version 2; expected version 3 of the backend ABI; rebuild it against this navit-edge"));
  CHECK(contains(load_error("fake-hidden", in(kFakes)), "does not export navit_edge_backend"));
  const TempDir dir;
  std::ofstream(dir.path() / "libnavit_edge_garbage.so") << "not an ELF file";
  CHECK(contains(load_error("garbage", in(dir.path())), "libnavit_edge_garbage.so: "));
  CHECK(contains(load_error("../fake", in(kFakes)), "no backend's name"));
  CHECK(contains(load_error("", in(kFakes)), "no backend's name"));
}

TEST_CASE("a failed load is tried again, a good one is kept for the process") {
  CHECK(!load_error("fake", in("/nowhere")).empty());
  ::setenv("NAVIT_EDGE_BACKEND_DIR", kFakes.c_str(), 1);
  const Backend& backend = Backend::load("fake", in("/nowhere"));
  ::unsetenv("NAVIT_EDGE_BACKEND_DIR");
  CHECK(backend.name() == "fake");
  CHECK(backend.path() == kFakes / "libnavit_edge_fake.so");
  CHECK(&Backend::load("fake", {}) == &backend);
}

TEST_CASE("a library's own path may be given in place of its directory") {
  const Backend& backend = Backend::load("fake-gpu", in(kFakes / "libnavit_edge_fake_gpu.so"));
  CHECK(backend.path() == kFakes / "libnavit_edge_fake_gpu.so");
}

TEST_CASE("a probe gives the device or the reason") {
  const Backend& backend = Backend::load("fake", in(kFakes));
  EngineSpec engine;
  engine.id = "fake-cpu-fp32";
  engine.precision = Precision::kFp32;
  CHECK(backend.probe(engine).device == "an abacus");
  CHECK(backend.probe(engine).library_version == "1.2.3");
  engine.options["refuse"] = "no beads";
  CHECK_THROWS_WITH_AS(backend.probe(engine), "fake-cpu-fp32: no beads", BackendError);
}

TEST_CASE("a vendor library is opened before the backend that needs it") {
  // The backend's need for libtensorrt_rtx.so.1 is met by the directory the caller names, and by nothing else.
  CHECK(contains(load_error("tensorrt-rtx", in(kFakes)), "the library libtensorrt_rtx.so.1 is not found; "));
  BackendSearch search = in(kFakes);
  search.vendor_dirs = {"/nowhere", FAKE_VENDOR_DIR};
  CHECK(Backend::load("tensorrt-rtx", search).path() == kFakes / "libnavit_edge_tensorrt_rtx.so");
}
