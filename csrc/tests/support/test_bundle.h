// Bundles for the fake backend, written to disk.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "bundle/sha256.h"
#include "support/temp_dir.h"

/// A bundle with one graph and one engine of the backend "fake" on the CPU; change `json` and call `write`.
class TestBundle {
 public:
  TestBundle() {
    put("graphs/padded.onnx", "a graph");
    put("engines/fake.bin", "an engine");
    const auto tensor = [](const char* name, const char* dtype, nlohmann::json shape) {
      return nlohmann::json{{"name", name}, {"dtype", dtype}, {"shape", std::move(shape)}};
    };
    json["schema_version"] = 1;
    json["name"] = "test";
    json["created_by"] = {{"navit-edge", "0.1.0"}};
    json["model"] = {{"family", "navit"}, {"width", 5},         {"depth", 1},
                     {"heads", 1},        {"prefix_tokens", 0}, {"parameters", 1}};
    json["preprocess"] = {{"sizing", {{"rule", "token-cap"}, {"max_tokens", 64}}},
                          {"filter", "bilinear"},
                          {"patch_px", 4},
                          {"channels", 3},
                          {"mean", {0.5, 0.5, 0.5}},
                          {"std", {0.5, 0.5, 0.5}}};
    json["graphs"] = nlohmann::json::array(
        {{{"id", "padded"},
          {"lowering", "padded"},
          {"file", "graphs/padded.onnx"},
          {"opset", 18},
          {"inputs",
           {tensor("patches", "uint8", {"T", 48}), tensor("positions", "int32", {"T", 2}),
            tensor("segment_ids", "int32", {"T"}), tensor("grid_hw", "int32", {"N", 2}),
            tensor("attention_index", "int32", {"N", "L"}), tensor("token_index", "int32", {"T"})}},
          {"outputs",
           {tensor("logits", "float32", {"N", 3}), tensor("embedding", "float32", {"N", 5}),
            tensor("tokens", "float32", {"T", 5})}}}});
    json["engines"] = nlohmann::json::array({engine("fake-cpu-fp32", "fake", "cpu")});
    json["labels"] = {"zero", "one", "two"};
  }

  /// An engine entry; its file is the one the constructor wrote.
  static nlohmann::json engine(const std::string& id, const std::string& backend, const std::string& target) {
    return {{"id", id},
            {"backend", backend},
            {"target", target},
            {"precision", "fp32"},
            {"graph", "padded"},
            {"strategy", "similar-length"},
            {"dynamic_tokens", true},
            {"budgets", nlohmann::json::array({{{"tokens", 128}, {"images", 6}, {"target_tokens", 96}}})},
            {"file", "engines/fake.bin"},
            {"builder", {{"fake", "1.2.3"}}},
            {"options", nlohmann::json::object()}};
  }

  /// An engine's cost with these coefficients, one set for each budget.
  static nlohmann::json cost(nlohmann::json budgets) {
    return {{"budgets", std::move(budgets)}, {"packs", 1}, {"r_squared", 1.0}, {"mean_error", 0.0}, {"threads", 1},
            {"device", "an abacus"}};
  }

  void put(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories((path() / name).parent_path());
    std::ofstream(path() / name, std::ios::binary) << bytes;
    navit_edge::Sha256 hash;
    hash.update(std::as_bytes(std::span(bytes)));
    json["files"][name] = {{"sha256", hash.finish()}, {"bytes", bytes.size()}};
  }

  const std::filesystem::path& write() const {
    write_text(json.dump(2));
    return path();
  }
  void write_text(const std::string& text) const { std::ofstream(path() / "manifest.json", std::ios::binary) << text; }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return dir_.path(); }

  nlohmann::json json;

 private:
  TempDir dir_;
};
