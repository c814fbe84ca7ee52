// Which engine a session takes, and what it says where none can run.

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

TEST_CASE("accelerators come first, those that cannot run are listed with their reason") {
  TestBundle bundle;
  auto refused = TestBundle::engine("gpu-refused", "fake-gpu", "sm89");
  refused["options"] = {{"refuse", "no such card"}};
  bundle.json["engines"] = nlohmann::json::array({TestBundle::engine("cpu", "fake", "cpu"), refused,
                                                  TestBundle::engine("gpu-missing", "nowhere", "sm86"),
                                                  TestBundle::engine("gpu", "fake-gpu", "sm86")});
  bundle.write();
  const Session session(bundle.path(), options());
  CHECK(session.engine().id == "gpu");
  CHECK(session.device() == "an abacus");
  REQUIRE(session.candidates().size() == 3);
  CHECK(session.candidates()[0].engine == "gpu-refused");
  CHECK(!session.candidates()[0].usable);
  CHECK(contains(session.candidates()[0].detail, "no such card"));
  CHECK(session.candidates()[1].engine == "gpu-missing");
  CHECK(contains(session.candidates()[1].detail, "did not load"));
  CHECK(session.candidates()[2].usable);

  SessionOptions cpu = options();
  cpu.device = DeviceKind::kCpu;
  CHECK(engine_of(bundle.path(), cpu) == "cpu");
}

TEST_CASE("an engine asked for by name is used or is an error, never another in its place") {
  TestBundle bundle;
  auto refused = TestBundle::engine("refused", "fake", "cpu");
  refused["options"] = {{"refuse", "no beads"}};
  bundle.json["engines"].push_back(refused);
  bundle.write();
  SessionOptions named = options();
  named.engine = "refused";
  CHECK_THROWS_WITH_AS(Session(bundle.path(), named),
                       "engine refused cannot run here: no beads\n`navit-edge doctor " + bundle.path().string() +
                           "` shows how to fix it",
                       BackendError);
  named.engine = "fake-cpu-fp32";
  CHECK(engine_of(bundle.path(), named) == "fake-cpu-fp32");
  named.device = DeviceKind::kGpu;
  CHECK_THROWS_WITH_AS(
      Session(bundle.path(), named),
      "engine fake-cpu-fp32 is not what was asked for: it runs on cpu; device gpu was asked for; leave "
      "one of them out",
      BackendError);
  named.device.reset();
  named.engine = "other";
  CHECK_THROWS_WITH_AS(Session(bundle.path(), named), "has no engine 'other'; it has: fake-cpu-fp32, refused",
                       BundleError);
}

TEST_CASE("what no engine is for is an error that names what the bundle has and how to build the other") {
  TestBundle bundle;
  bundle.write();
  const std::string path = bundle.path().string();
  SessionOptions asked = options();
  asked.precision = Precision::kBf16;
  CHECK_THROWS_WITH_AS(
      Session(bundle.path(), asked),
      "has no engine for precision bf16; it has fake-cpu-fp32 (cpu, fp32); leave precision at auto, or "
      "build one: `navit-edge build-engine " +
          path + " --backend openvino --precision bf16`",
      BackendError);
  asked.device = DeviceKind::kGpu;
  CHECK_THROWS_WITH_AS(Session(bundle.path(), asked), "has no engine for device gpu and precision bf16; ",
                       BackendError);
  asked.precision.reset();
  CHECK_THROWS_WITH_AS(Session(bundle.path(), asked), "leave device at auto, or build one: ", BackendError);
  std::string said;
  try {
    (void)Session(bundle.path(), asked);
  } catch (const BackendError& e) {
    said = e.what();
  }
  CHECK(contains(said, "--backend tensorrt-rtx`"));
  CHECK(!contains(said, "openvino"));
  asked.precision = Precision::kFp8;
  CHECK_THROWS_WITH_AS(Session(bundle.path(), asked), "--backend tensorrt-rtx --precision fp8`", BackendError);
  asked.device = DeviceKind::kNpu;
  CHECK_THROWS_WITH_AS(Session(bundle.path(), asked), "; leave device at auto", BackendError);
  CHECK(!contains(said, "\n"));
  asked = options();
  asked.max_tokens_per_image = -1;
  CHECK_THROWS_WITH_AS(Session(bundle.path(), asked), "max_tokens_per_image", InvalidInput);
  bundle.json["engines"] = nlohmann::json::array();
  CHECK_THROWS_WITH_AS(Session(bundle.write(), options()), "holds no engine", BackendError);
}

TEST_CASE("if none can run, the error leads to doctor and gives each reason once") {
  TestBundle bundle;
  auto engines = nlohmann::json::array();
  for (const char* id : {"a", "b"}) {
    engines.push_back(TestBundle::engine(id, "fake", "cpu"));
    engines.back()["options"] = {{"refuse", "no beads; rebuild it: navit-edge build-engine BUNDLE --force"}};
  }
  engines.push_back(TestBundle::engine("c", "nowhere", "sm86"));
  bundle.json["engines"] = engines;
  const std::string path = bundle.write().string();
  CHECK_THROWS_WITH_AS(
      Session(bundle.path(), options()),
      "no engine of the bundle " + path + " can run here; `navit-edge doctor " + path +
          "` shows how to fix it:\n  c: "
          "backend 'nowhere' did not load: its plug-in libnavit_edge_nowhere.so is not here; check the backend's name, "
          "or "
          "name the directory of its plug-in in NAVIT_EDGE_BACKEND_DIR\n  a, b: no beads; rebuild it: navit-edge "
          "build-engine " +
          path + " --force",
      BackendError);
}

TEST_CASE("an altered engine and one that does not open are errors") {
  TestBundle bundle;
  bundle.write();
  SessionOptions asked = options();
  asked.backend["fail_open"] = "out of beads";
  CHECK_THROWS_WITH_AS(Session(bundle.path(), asked), "fake-cpu-fp32 did not open: out of beads", BackendError);
  std::ofstream(bundle.path() / "engines/fake.bin") << "An engine";
  CHECK_THROWS_WITH_AS(Session(bundle.path(), options()), "was altered", BundleError);
}

TEST_CASE("a graph that this version cannot feed or read is refused when the session opens") {
  TestBundle bundle;
  bundle.json["graphs"][0]["inputs"][2]["name"] = "max_seqlen";
  CHECK_THROWS_WITH_AS(Session(bundle.write(), options()), "has the input 'max_seqlen'", BundleError);
  bundle.json["graphs"][0]["inputs"][2]["name"] = "segment_ids";
  bundle.json["graphs"][0]["outputs"][0]["name"] = "attention";
  CHECK_THROWS_WITH_AS(Session(bundle.write(), options()), "has the output 'attention'", BundleError);
  bundle.json["graphs"][0]["outputs"][0] = {{"name", "logits"}, {"dtype", "float16"}, {"shape", {"N", 3}}};
  CHECK_THROWS_WITH_AS(Session(bundle.write(), options()), "logits is float16 [N, 3]; expected float32 [N, D]",
                       BundleError);
}

TEST_CASE("the caller's cap lowers the bundle's, and does not raise it") {
  const Picture large(1, 200, 200);
  TestBundle bundle;
  bundle.write();
  const auto grid_under = [&](std::int32_t cap) {
    SessionOptions capped = options();
    capped.max_tokens_per_image = cap;
    return Session(bundle.path(), capped).run(std::span(&large.view, 1))[0].grid;
  };
  CHECK(grid_under(0) == Grid{8, 8});
  CHECK(grid_under(16) == Grid{4, 4});
  CHECK(grid_under(1000) == Grid{8, 8});
  bundle.json["preprocess"]["sizing"] = {{"rule", "native"}};
  bundle.write();
  CHECK(grid_under(16) == Grid{4, 4});
}
