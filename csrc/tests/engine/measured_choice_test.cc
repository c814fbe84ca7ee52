// Which engine `auto` takes of those that `bench --calibrate` has measured.

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;
using nlohmann::json;

namespace {

/// An engine whose packs take `us_per_token`, measured on the fake backend's device.
json measured(const std::string& id, double us_per_token, const std::string& precision = "fp32") {
  json engine = TestBundle::engine(id, "fake", "cpu");
  engine["precision"] = precision;
  engine["cost"] =
      TestBundle::cost(json::array({{{"fixed_us", 1}, {"us_per_token", us_per_token}, {"us_per_score", 0}}}));
  return engine;
}

struct Measured : TestBundle {
  explicit Measured(const nlohmann::json& engines) { json["engines"] = engines; }

  /// What the bundle says that int8 loses, of the graph that the engines have.
  void says(double least_cosine, const std::string& images = "held out") {
    const nlohmann::json row = {{"output", "embedding"}, {"cosine_min", least_cosine}};
    const nlohmann::json report = {{"graphs", {"padded"}}, {"accuracy", {{images, nlohmann::json::array({row})}}}};
    put("reports/quantize-int8.json", report.dump());
  }
};

std::vector<std::string> details(const Session& session) {
  std::vector<std::string> all;
  for (const Candidate& one : session.candidates()) all.push_back(one.engine + ": " + one.detail);
  return all;
}

}  // namespace

TEST_CASE("the fastest by measurement is taken in place of the first, and says why") {
  Measured bundle(json::array({measured("slow", 2), measured("fast", 0.5), measured("middling", 1)}));
  const Session session(bundle.write(), options());
  CHECK(session.engine().id == "fast");
  REQUIRE(session.candidates().size() == 2);
  CHECK(session.candidates()[0].usable);
  CHECK(contains(details(session)[0], "slow: an abacus; fast is faster"));
  CHECK(contains(details(session)[1], "fast: an abacus; in place of slow: 3."));
  CHECK(contains(session.engine_report(), "as fast by bench --calibrate"));
  CHECK(contains(session.engine_report(), "\"threads\":"));
}

TEST_CASE("the manifest's order decides where times say nothing") {
  SessionOptions asked = options();
  asked.engine = "slow";
  Measured bundle(json::array({measured("slow", 2), measured("fast", 0.5)}));
  CHECK(engine_of(bundle.write(), asked) == "slow");  // asked for by name
  asked = options();
  asked.precision = Precision::kFp32;
  bundle.json["engines"][1]["precision"] = "bf16";
  CHECK(engine_of(bundle.write(), asked) == "slow");  // of the precision that was asked for
  bundle.json["engines"][1]["cost"]["device"] = "another abacus";
  CHECK(engine_of(bundle.write(), options()) == "slow");  // measured elsewhere
  bundle.json["engines"][1]["cost"]["device"] = "an abacus";
  bundle.json["engines"][1]["cost"]["threads"] = 4;
  CHECK(engine_of(bundle.write(), options()) == "slow");  // with other threads
  bundle.json["engines"][1]["cost"] = nullptr;
  CHECK(engine_of(bundle.write(), options()) == "slow");  // not measured
  Measured close(json::array({measured("first", 1), measured("hardly", 0.98)}));
  CHECK(engine_of(close.write(), options()) == "first");  // within the error of a calibration
}

TEST_CASE("what does not run is not taken, however fast") {
  json refused = measured("refused", 0.1);
  refused["options"] = {{"refuse", "no beads"}};
  Measured bundle(json::array({measured("slow", 2), refused, measured("fast", 0.5)}));
  CHECK(engine_of(bundle.write(), options()) == "fast");
}

TEST_CASE("a faster quantized engine is taken if the bundle says that it loses little") {
  Measured bundle(json::array({measured("float", 2), measured("int8", 0.5, "int8")}));
  {
    const Session session(bundle.write(), options());
    CHECK(session.engine().id == "float");
    CHECK(contains(session.candidates().back().detail, "and not taken: the bundle does not say what it loses"));
  }
  bundle.says(0.9995);
  {
    const Session session(bundle.write(), options());
    CHECK(session.engine().id == "int8");
    CHECK(contains(session.candidates().back().detail, "least cosine to float32 0.9995 on held-out images"));
  }
  bundle.says(0.9995, "calibration");
  CHECK(engine_of(bundle.write(), options()) == "int8");
  bundle.says(0.95);
  {
    const Session session(bundle.write(), options());
    CHECK(session.engine().id == "float");
    CHECK(contains(session.candidates().back().detail, "0.9500 on held-out images, below 0.99"));
  }
  bundle.put("reports/quantize-int8.json", "{\"graphs\": [1]");
  CHECK(engine_of(bundle.write(), options()) == "float");  // a report that cannot be read says nothing
}
