#include "navit_edge/manifest.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/test_bundle.h"

using namespace navit_edge;
using nlohmann::json;

namespace {

std::string text_of(const FileBytes& content) {
  const auto bytes = content.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("a manifest is read as it was written") {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"streams", "2"}};
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK(manifest.name == "test");
  CHECK(manifest.model.width == 5);
  CHECK(manifest.model.prefix_tokens == 0);
  CHECK(std::get<TokenCap>(manifest.preprocess.sizing.rule).max_tokens == 64);
  CHECK(manifest.preprocess.patch_px == 4);
  CHECK(manifest.labels == std::vector<std::string>{"zero", "one", "two"});
  const GraphSpec& graph = manifest.graph("padded");
  REQUIRE(graph.inputs.size() == 6);
  CHECK(graph.inputs[0].name == "patches");
  CHECK(graph.inputs[0].dtype == DType::kUInt8);
  CHECK(graph.inputs[0].shape[0].symbol == 'T');
  CHECK(graph.inputs[0].shape[1].symbol == '\0');
  CHECK(graph.inputs[0].shape[1].extent == 48);
  CHECK(graph.inputs[4].shape[1].symbol == 'L');
  const EngineSpec& engine = manifest.engine("fake-cpu-fp32");
  CHECK(engine.dynamic_tokens);
  CHECK(engine.budgets.size() == 1);
  CHECK(engine.budgets[0].target_tokens == 96);
  CHECK(engine.options.at("streams") == "2");
  CHECK(engine.builder.at("fake") == "1.2.3");
  CHECK(text_of(manifest.verified_bytes("engines/fake.bin")) == "an engine");
}

TEST_CASE("an extent of one more than the images is read") {
  TestBundle bundle;
  bundle.json["graphs"][0]["inputs"].push_back({{"name", "cu_seqlens"}, {"dtype", "int32"}, {"shape", {"N+1"}}});
  const Manifest manifest = Manifest::load(bundle.write());
  const Dim& dim = manifest.graph("padded").inputs.back().shape[0];
  CHECK(dim.symbol == 'N');
  CHECK(dim.extent == 1);
  CHECK(manifest.graph("padded").inputs[3].shape[0].extent == 0);
}

TEST_CASE("outputs of merged tokens have a quarter of the rows") {
  TestBundle bundle;
  CHECK(Manifest::load(bundle.write()).model.token_merge == 1);
  bundle.json["model"]["token_merge"] = 2;
  bundle.json["graphs"][0]["outputs"].back()["shape"][0] = "T/4";  // tokens
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK(manifest.model.token_merge == 2);
  const Dim& dim = manifest.graph("padded").outputs.back().shape[0];
  CHECK(dim.symbol == 'T');
  CHECK(dim.parts == 4);
}

TEST_CASE("what projected and deepstack merge is what their rows say, in every graph") {
  TestBundle bundle;
  bundle.json["graphs"].push_back(bundle.json["graphs"][0]);
  bundle.json["graphs"][1]["id"] = "other";
  const auto add = [&](std::size_t graph, const char* name, const char* rows, bool layered) {
    const json shape = layered ? json::array({rows, 2, 8}) : json::array({rows, 8});
    bundle.json["graphs"][graph]["outputs"].push_back({{"name", name}, {"dtype", "float32"}, {"shape", shape}});
  };
  add(0, "projected", "T/9", false);
  add(1, "deepstack", "T/4", true);
  const ModelSpec model = Manifest::load(bundle.write()).model;
  CHECK(model.projected_merge == 3);
  CHECK(model.deepstack_merge == 2);
  CHECK(model.token_merge == 1);
  CHECK(model.block_side() == 6);
  add(1, "projected", "T/4", false);
  CHECK_THROWS_WITH_AS(Manifest::load(bundle.write()), "T/9 rows of projected, as the graph before has", BundleError);
}

TEST_CASE("how files are decoded is read; a manifest that does not say leaves them as they are decoded") {
  TestBundle bundle;
  const Manifest old = Manifest::load(bundle.write());
  CHECK(old.preprocess.orientation == Orientation::kAsDecoded);
  CHECK(old.preprocess.icc == Icc::kIgnore);
  bundle.json["preprocess"]["orientation"] = "apply";
  bundle.json["preprocess"]["icc"] = "srgb";
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK(manifest.preprocess.orientation == Orientation::kApply);
  CHECK(manifest.preprocess.icc == Icc::kSrgb);
}

TEST_CASE("a quantized graph and its engine are read; a graph that says nothing is not quantized") {
  TestBundle bundle;
  const Manifest plain = Manifest::load(bundle.write());
  CHECK(plain.graph("padded").quantization == Quantization::kNone);
  for (const char* precision : {"int8", "fp8"}) {
    bundle.json["graphs"][0]["quantization"] = precision;
    bundle.json["engines"][0]["precision"] = precision;
    bundle.json["engines"][0]["float_precision"] = "bf16";
    const Manifest manifest = Manifest::load(bundle.write());
    CHECK(manifest.graph("padded").quantization == parse_word<Quantization>(precision));
    CHECK(manifest.engines[0].precision == parse_word<Precision>(precision));
    CHECK(manifest.engines[0].float_precision == Precision::kBf16);
  }
}

TEST_CASE("a bundle without engines and labels is read") {
  TestBundle bundle;
  bundle.json.erase("engines");
  bundle.json.erase("labels");
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK(manifest.engines.empty());
  CHECK_THROWS_WITH_AS(manifest.engine("x"), "it has: none", BundleError);
}

TEST_CASE("unknown ids are answered with those there are") {
  TestBundle bundle;
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK_THROWS_WITH_AS(manifest.engine("nope"), "has no engine 'nope'; it has: fake-cpu-fp32", BundleError);
  CHECK_THROWS_WITH_AS(manifest.graph("nope"), "has no graph 'nope'; it has: padded", BundleError);
}

TEST_CASE("every way a manifest can be wrong names the field, what was found and what was expected") {
  struct Fault {
    std::function<void(json&)> make;
    std::string message;
  };
  const std::vector<Fault> faults{
      {[](json& j) { j["schema_version"] = 4; }, "schema_version is 4; expected 1 to 3"},
      {[](json& j) { j.erase("schema_version"); }, "the field schema_version is missing"},
      {[](json& j) { j["schema_version"] = "1"; }, "schema_version is \"1\"; expected an integer"},
      {[](json& j) { j.erase("name"); }, "the field name is missing"},
      {[](json& j) { j["name"] = 7; }, "name is 7; expected a string"},
      {[](json& j) { j["model"] = json::array(); }, "model is []; expected an object"},
      {[](json& j) { j["model"]["width"] = 0; }, "model.width is 0; expected an integer from 1"},
      {[](json& j) { j["model"]["width"] = 1.5; }, "model.width is 1.5; expected an integer"},
      {[](json& j) { j["model"]["prefix_tokens"] = -1; }, "model.prefix_tokens is -1"},
      {[](json& j) { j["preprocess"]["sizing"]["rule"] = "square"; }, "expected one of token-cap, native"},
      {[](json& j) { j["preprocess"]["sizing"].erase("max_tokens"); }, "max_tokens of at least 1"},
      {[](json& j) { j["preprocess"]["sizing"]["merge"] = 2; }, "token-cap has no field merge"},
      {[](json& j) { j["preprocess"]["sizing"]["fitt"] = "pad"; },
       "sizing.fitt is not known; expected no others than rule"},
      {[](json& j) { j["preprocess"]["sizing"] = {{"rule", "native"}, {"fit", "pad"}, {"pad_rgb", {1, 2}}}; },
       "three values"},
      {[](json& j) { j["preprocess"]["sizing"] = {{"rule", "fixed"}, {"height_px", 6}, {"width_px", 8}}; },
       "multiples of the patch side 4"},
      {[](json& j) { j["preprocess"]["orientation"] = "exif"; }, "expected one of apply, as-decoded"},
      {[](json& j) { j["preprocess"]["icc"] = true; }, "preprocess.icc is true; expected a string"},
      {[](json& j) { j["preprocess"]["filter"] = "mitchell"; }, "expected one of nearest, box, bilinear"},
      {[](json& j) { j["engines"][0]["options"]["tensorrt_dir"] = "/tmp"; }, "no such option in a bundle"},
      {[](json& j) { j["engines"][0]["options"]["engine_host_code"] = "true"; }, "no such option in a bundle"},
      {[](json& j) { j["preprocess"]["alpha"] = "ignore"; }, "expected one of drop, composite, reject"},
      {[](json& j) { j["preprocess"]["background"] = {1, 2}; }, "three values of 0..255"},
      {[](json& j) { j["preprocess"]["background"] = {1, 2, 256}; }, "preprocess.background[2] is 256"},
      {[](json& j) { j["model"]["token_merge"] = 5; }, "model.token_merge is 5"},
      {[](json& j) { j["preprocess"]["channels"] = 4; }, "preprocess.channels is 4"},
      {[](json& j) { j["preprocess"]["patch_px"] = 18446744073709551615U; }, "preprocess.patch_px"},
      {[](json& j) { j["graphs"] = json::object(); }, "graphs is {}; expected an array"},
      {[](json& j) { j["graphs"][0]["inputs"] = json::array(); }, "at least one tensor"},
      {[](json& j) { j["graphs"][0]["inputs"][0]["dtype"] = "float64"; }, "expected one of float32"},
      {[](json& j) { j["graphs"][0]["inputs"][0]["shape"][0] = "B"; }, "expected one of T, T/4, T/9, T/16, N, L, N+1"},
      {[](json& j) { j["graphs"][0]["inputs"][0]["shape"][0] = -4; }, "graphs[0].inputs[0].shape[0] is -4"},
      {[](json& j) { j["graphs"][0]["inputs"][1]["name"] = "patches"; }, "no other tensor"},
      {[](json& j) { j["graphs"][0]["lowering"] = "sparse"; }, "expected one of masked, padded, packed"},
      {[](json& j) { j["graphs"][0]["quantization"] = "int4"; }, "expected one of none, int8, fp8"},
      {[](json& j) { j["graphs"].push_back(j["graphs"][0]); },
       "graphs[1].id is \"padded\"; expected an id that no other entry has"},
      {[](json& j) { j["engines"][0]["graph"] = "masked"; }, "one of the bundle's graphs: padded"},
      {[](json& j) { j["engines"][0]["precision"] = "int4"; }, "expected one of fp32, fp16, bf16"},
      {[](json& j) { j["engines"][0]["float_precision"] = "int8"; }, "expected one of fp32, fp16, bf16"},
      {[](json& j) { j["engines"][0]["strategy"] = "magic"; }, "expected one of auto, fifo, first-fit"},
      {[](json& j) { j["engines"][0]["backend"] = "../evil"; }, "a backend's name"},
      {[](json& j) { j["engines"][0]["dynamic_tokens"] = "yes"; }, "expected true or false"},
      {[](json& j) { j["engines"][0]["budgets"] = json::array(); }, "at least one budget"},
      {[](json& j) { j["engines"][0]["budgets"][0]["tokens"] = 3000000000; }, "budgets[0].tokens is 3000000000"},
      {[](json& j) { j["engines"][0]["budgets"][0]["target_tokens"] = 129; }, "target_tokens is 129"},
      {[](json& j) { j["engines"][0]["budgets"].push_back(j["engines"][0]["budgets"][0]); }, "ascend in tokens"},
      {[](json& j) { j["engines"][0]["file"] = "engines/other.bin"; }, "`files` lists"},
      {[](json& j) { j["engines"][0]["file"] = "../fake.bin"; }, "relative path inside of the bundle"},
      {[](json& j) { j["engines"][0]["file"] = "/etc/passwd"; }, "relative path inside of the bundle"},
      {[](json& j) { j["engines"][0]["options"] = {{"a", 1}}; }, "engines[0].options.a is 1; expected a string"},
      {[](json& j) { j["engines"].push_back(j["engines"][0]); },
       "engines[1].id is \"fake-cpu-fp32\"; expected an id that no other"},
      {[](json& j) { j["files"]["a/../../b"] = j["files"]["engines/fake.bin"]; }, "a file inside of the bundle"},
      {[](json& j) { j["files"]["engines/fake.bin"]["sha256"] = "ABC"; }, "64 lower-case hexadecimal digits"},
      {[](json& j) { j["files"]["engines/fake.bin"]["bytes"] = -1; }, "bytes is -1"},
      {[](json& j) { j["labels"] = {1}; }, "labels[0] is 1; expected a string"},
      {[](json& j) { j = json::array(); }, "the document is []; expected an object"},
  };
  for (const Fault& fault : faults) {
    TestBundle bundle;
    fault.make(bundle.json);
    bundle.write();
    CHECK_THROWS_WITH_AS(Manifest::load(bundle.path()), fault.message, BundleError);
  }
}

TEST_CASE("text that is not JSON, cut short or empty is a BundleError") {
  TestBundle bundle;
  const std::string whole = bundle.json.dump();
  for (const std::string& text :
       {std::string(), std::string("{"), whole.substr(0, whole.size() / 2), std::string("\xFF\xFE\x00", 3),
        "\xEF\xBB\xBF" + whole, whole + std::string(1, '\0')}) {
    bundle.write_text(text);
    CHECK_THROWS_WITH_AS(Manifest::load(bundle.path()), "is not JSON", BundleError);
  }
  bundle.write_text(std::string(100000, '['));
  CHECK_THROWS_WITH_AS(Manifest::load(bundle.path()), "is nested more than 64 levels deep", BundleError);
}

TEST_CASE("no part of a manifest can be swapped for another kind without a BundleError or a good read") {
  TestBundle bundle;
  const json original = bundle.json;
  const std::vector<json> values{nullptr, true, -1, 1e300, "", json::array(), json::object()};
  const std::function<void(const json&, const json::json_pointer&)> walk = [&](const json& node,
                                                                               const json::json_pointer& where) {
    for (const json& value : values) {
      bundle.json = original;
      bundle.json[where] = value;
      bundle.write();
      try {
        (void)Manifest::load(bundle.path());
        CHECK(true);
      } catch (const BundleError&) {
        CHECK(true);
      }
    }
    if (node.is_object()) {
      for (const auto& [key, child] : node.items()) walk(child, where / key);
    } else if (node.is_array()) {
      for (std::size_t i = 0; i < node.size() && i < 2; ++i) walk(node[i], where / i);
    }
  };
  walk(original, json::json_pointer());
}

TEST_CASE("a bundle that is not there, or is no directory, is said to be so") {
  const TempDir dir;
  CHECK_THROWS_WITH_AS(Manifest::load(dir.path() / "nothing.navit"), "no bundle at", BundleError);
  CHECK_THROWS_WITH_AS(Manifest::load(dir.path()), "manifest.json is missing", BundleError);
  std::ofstream(dir.path() / "file") << "x";
  CHECK_THROWS_WITH_AS(Manifest::load(dir.path() / "file"), "not a directory", BundleError);
}

TEST_CASE("a file that is missing, altered, truncated or unlisted is not handed out") {
  TestBundle bundle;
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/other"), "is not listed", BundleError);
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("../x"), "leaves the bundle", BundleError);
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("/etc/hostname"), "leaves the bundle", BundleError);
  const auto file = bundle.path() / "engines/fake.bin";
  std::ofstream(file, std::ios::binary) << "An engine";  // as long as before
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "was altered: its sha256 is", BundleError);
  std::ofstream(file, std::ios::binary) << "an";
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "has 2 bytes; the manifest says 9", BundleError);
  std::filesystem::remove(file);
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "is missing", BundleError);
  std::filesystem::remove(bundle.path() / "engines");
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "engines is missing", BundleError);
}

TEST_CASE("what is handed out are the bytes that were hashed, whatever becomes of the file") {
  TestBundle bundle;
  std::string large(3 * (std::size_t{1} << 20) + 77, '\0');  // several reads
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i % 251);
  bundle.put("engines/fake.bin", large);
  bundle.put("engines/empty.bin", "");
  const Manifest manifest = Manifest::load(bundle.write());
  const auto file = bundle.path() / "engines/fake.bin";
  const FileBytes content = manifest.verified_bytes("engines/fake.bin");
  std::ofstream(file, std::ios::in | std::ios::out | std::ios::binary) << "other";  // in place
  CHECK(text_of(content) == large);
  std::filesystem::resize_file(file, 0);  // a mapping of the file would end the process here
  CHECK(text_of(content) == large);
  CHECK(text_of(manifest.verified_bytes("engines/empty.bin")).empty());
}

TEST_CASE("only regular files are opened, and nothing that could wait") {
  TestBundle bundle;
  const Manifest manifest = Manifest::load(bundle.write());
  const auto file = bundle.path() / "engines/fake.bin";
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "not a regular file", BundleError);
  std::filesystem::remove(file);
  REQUIRE(::mkfifo(file.c_str(), 0600) == 0);
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "not a regular file", BundleError);
  std::filesystem::remove_all(bundle.path() / "engines");
  std::ofstream(bundle.path() / "engines") << "x";
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "engines is not a directory", BundleError);
}

TEST_CASE("no link inside of a bundle is followed, wherever it leads") {
  TestBundle bundle;
  const TempDir outside;
  std::ofstream(outside.path() / "fake.bin", std::ios::binary) << "an engine";
  const Manifest manifest = Manifest::load(bundle.write());
  const auto file = bundle.path() / "engines/fake.bin";
  std::filesystem::rename(file, bundle.path() / "engines/real.bin");
  for (const std::filesystem::path& to :
       {std::filesystem::path("real.bin"), outside.path() / "fake.bin", std::filesystem::path("nowhere")}) {
    std::filesystem::create_symlink(to, file);
    CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"),
                         "engines/fake.bin is a link; expected a regular file of the bundle itself; copy", BundleError);
    std::filesystem::remove(file);
  }
  std::filesystem::remove_all(bundle.path() / "engines");
  std::filesystem::create_directory_symlink(outside.path(), bundle.path() / "engines");
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"),
                       "engines is a link; expected a directory of the bundle itself", BundleError);
}

TEST_CASE("a file that says more than this machine's memory is refused before memory is taken") {
  TestBundle bundle;
  const std::uintmax_t bytes = std::uintmax_t{1} << 43;
  const auto file = bundle.path() / "engines/fake.bin";
  std::error_code error;
  std::filesystem::resize_file(file, bytes, error);  // sparse
  if (error) return;                                 // no file of this file system can say so much
  bundle.json["files"]["engines/fake.bin"]["bytes"] = bytes;
  const Manifest manifest = Manifest::load(bundle.write());
  CHECK_THROWS_WITH_AS(manifest.verified_bytes("engines/fake.bin"), "of memory; open the bundle on a larger one",
                       BundleError);
}

TEST_CASE("a bundle reached through a link is a bundle") {
  TestBundle bundle;
  bundle.write();
  const TempDir dir;
  std::filesystem::create_directory_symlink(bundle.path(), dir.path() / "link.navit");
  const Manifest manifest = Manifest::load(dir.path() / "link.navit");
  CHECK(text_of(manifest.verified_bytes("engines/fake.bin")) == "an engine");
}

TEST_CASE("patches of twice the pixels hold two frames") {
  TestBundle bundle;
  CHECK(Manifest::load(bundle.write()).preprocess.frames == 1);
  bundle.json["graphs"][0]["inputs"][0]["shape"][1] = 96;
  CHECK(Manifest::load(bundle.write()).preprocess.frames == 2);
  bundle.json["graphs"][0]["inputs"][0]["shape"][1] = 95;
  CHECK(Manifest::load(bundle.write()).preprocess.frames == 1);
}
