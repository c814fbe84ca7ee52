#include "navit_edge/text_encoder.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

constexpr std::int64_t kTokens = 4;
constexpr std::int64_t kWidth = 3;

/// Gives it a text tower with an engine of the fake backend.
void with_texts(TestBundle& bundle, bool masks) {
  const auto tensor = [](const char* name, const char* dtype, std::int64_t extent) {
    return nlohmann::json{{"name", name}, {"dtype", dtype}, {"shape", {"N", extent}}};
  };
  bundle.put("text/text.onnx", "a graph of texts");
  bundle.put("text/tokenizer.json", "{}");
  bundle.json["schema_minor"] = 1;
  bundle.json["text"] = {{"file", "text/text.onnx"},
                         {"opset", 20},
                         {"inputs", nlohmann::json::array({tensor("input_ids", "int32", kTokens)})},
                         {"outputs", nlohmann::json::array({tensor("embedding", "float32", kWidth)})},
                         {"tokenizer", "text/tokenizer.json"},
                         {"logit_scale", 10.0},
                         {"logit_bias", -2.0},
                         {"engines", nlohmann::json::array({{{"id", "fake-cpu-text"},
                                                             {"backend", "fake"},
                                                             {"target", "cpu"},
                                                             {"precision", "fp32"},
                                                             {"file", "engines/fake.bin"},
                                                             {"builder", {{"fake", "1.2.3"}}}}})}};
  if (masks) bundle.json["text"]["inputs"].push_back(tensor("attention_mask", "int32", kTokens));
}

TextEncoderOptions fakes() {
  TextEncoderOptions options;
  options.search = {{kFakes}, {}};
  return options;
}

/// What the fake engine says of one text, of length 1.
std::vector<float> expected(const std::int32_t* ids, const std::int32_t* mask) {
  std::vector<double> sums(kWidth);
  double squares = 0;
  for (std::int64_t d = 0; d < kWidth; ++d) {
    for (std::int64_t t = 0; t < kTokens; ++t) {
      if (mask == nullptr || mask[t] != 0) sums[d] += static_cast<double>((1 + t) * (ids[t] + d));
    }
    squares += sums[d] * sums[d];
  }
  std::vector<float> unit;
  for (const double sum : sums) unit.push_back(static_cast<float>(sum / std::sqrt(squares)));
  return unit;
}

std::vector<std::int32_t> some_ids(std::size_t texts) {
  std::vector<std::int32_t> ids(texts * kTokens);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(1 + i * 7 % 11);
  return ids;
}

}  // namespace

TEST_CASE("texts of more than one pass are embedded each by itself, with length 1") {
  TestBundle bundle;
  with_texts(bundle, false);
  TextEncoder encoder(bundle.write(), fakes());
  CHECK(encoder.tokens() == kTokens);
  CHECK(encoder.width() == kWidth);
  CHECK(!encoder.masks_padding());
  CHECK(encoder.logit_scale() == 10.0);
  CHECK(encoder.logit_bias() == -2.0);
  CHECK(encoder.engine() == "fake-cpu-text");
  CHECK(encoder.tokenizer() == bundle.path() / "text/tokenizer.json");
  const std::vector<std::int32_t> ids = some_ids(70);
  const std::vector<float> found = encoder.embed(ids);
  CHECK(found.size() == 70U * kWidth);
  for (std::size_t text = 0; text < 70; ++text) {
    const std::vector<float> one = expected(ids.data() + text * kTokens, nullptr);
    for (std::size_t d = 0; d < one.size(); ++d) CHECK(found[text * kWidth + d] == one[d]);
  }
}

TEST_CASE("padding is masked if the model masks it, and a mask must then be there") {
  TestBundle bundle;
  with_texts(bundle, true);
  TextEncoder encoder(bundle.write(), fakes());
  CHECK(encoder.masks_padding());
  const std::vector<std::int32_t> ids = some_ids(2);
  const std::vector<std::int32_t> mask{1, 1, 0, 0, 1, 1, 1, 0};
  const std::vector<float> found = encoder.embed(ids, mask);
  for (std::size_t text = 0; text < 2; ++text) {
    const std::vector<float> one = expected(ids.data() + text * kTokens, mask.data() + text * kTokens);
    for (std::size_t d = 0; d < one.size(); ++d) CHECK(found[text * kWidth + d] == one[d]);
  }
  CHECK_THROWS_WITH_AS(encoder.embed(ids), "the mask has 0 numbers; expected 8", InvalidInput);
}

TEST_CASE("logits are scale times cosine plus bias, whatever the lengths of the embeddings") {
  TestBundle bundle;
  with_texts(bundle, false);
  const TextEncoder encoder(bundle.write(), fakes());
  const std::vector<float> images{2, 0, 0, 0, 3, 0};
  const std::vector<float> texts{5, 0, 0, 1, 1, 0, 0, 0, 1};
  const std::vector<float> found = encoder.logits(images, texts);
  const double diagonal = 10 / std::sqrt(2.0) - 2;
  const std::vector<double> wanted{8, diagonal, -2, -2, diagonal, -2};
  CHECK(found.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) CHECK(std::abs(found[i] - wanted[i]) < 1e-5);
}

TEST_CASE("what has another shape, or no length, is refused with what was expected") {
  TestBundle bundle;
  with_texts(bundle, false);
  TextEncoder encoder(bundle.write(), fakes());
  const std::vector<std::int32_t> ids = some_ids(1);
  const std::vector<std::int32_t> none;
  CHECK_THROWS_WITH_AS(encoder.embed(none), "there are 0 ids; expected texts of 4 each", InvalidInput);
  CHECK_THROWS_WITH_AS(encoder.embed(std::span(ids).first(3)), "there are 3 ids", InvalidInput);
  CHECK_THROWS_WITH_AS(encoder.embed(ids, std::span(ids).first(3)), "the mask has 3 numbers; expected 4", InvalidInput);
  const std::vector<float> good{1, 0, 0};
  const std::vector<float> zero{1, 0, 0, 0, 0, 0};
  CHECK_THROWS_WITH_AS(encoder.logits(std::span(good).first(2), good), "images have 2 numbers; expected", InvalidInput);
  CHECK_THROWS_WITH_AS(encoder.logits(good, zero), "row 1 of the embeddings of texts has the length 0", InvalidInput);
}

TEST_CASE("a bundle without texts, or without an engine for them, says what to run") {
  const TestBundle images;
  CHECK_THROWS_WITH_AS(TextEncoder(images.write(), fakes()), "has no text tower", BundleError);
  TestBundle bundle;
  with_texts(bundle, false);
  bundle.json["text"].erase("engines");
  CHECK_THROWS_WITH_AS(TextEncoder(bundle.write(), fakes()), "has no engine for its texts; build one with",
                       BackendError);
  with_texts(bundle, false);
  bundle.json["text"]["inputs"][0]["name"] = "words";
  CHECK_THROWS_WITH_AS(TextEncoder(bundle.write(), fakes()), "inputs and outputs that this version cannot",
                       BundleError);
  with_texts(bundle, false);
  bundle.json["text"]["engines"][0]["options"] = {{"refuse", "no beads"}};
  CHECK_THROWS_WITH_AS(TextEncoder(bundle.write(), fakes()), "no beads", BackendError);
}

TEST_CASE("an engine for texts whose file was altered is not opened") {
  TestBundle bundle;
  with_texts(bundle, false);
  bundle.write();
  std::ofstream(bundle.path() / "engines/fake.bin", std::ios::binary) << "another!!";
  CHECK_THROWS_WITH_AS(TextEncoder(bundle.path(), fakes()), "engines/fake.bin", BundleError);
}

TEST_CASE("threads share an encoder") {
  TestBundle bundle;
  with_texts(bundle, false);
  TextEncoder encoder(bundle.write(), fakes());
  const std::vector<std::int32_t> ids = some_ids(40);
  const std::vector<float> wanted = encoder.embed(ids);
  std::vector<std::vector<float>> found(4);
  std::vector<std::thread> threads;
  for (auto& one : found) threads.emplace_back([&] { one = encoder.embed(ids); });
  for (auto& thread : threads) thread.join();
  for (const auto& one : found) CHECK(one == wanted);
}
