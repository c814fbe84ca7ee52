#include "navit_edge/unpack.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

/// A tensor [rows, cols] whose value i is i.
std::shared_ptr<const HostTensor> counting(const char* name, const std::vector<std::int64_t>& shape,
                                           DType dtype = DType::kFloat32) {
  auto tensor = std::make_shared<HostTensor>(name, dtype);
  tensor->resize(shape);
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  for (std::int64_t i = 0; i < count; ++i) tensor->as<float>()[i] = static_cast<float>(i);
  return tensor;
}

std::shared_ptr<const HostTensor> counting(const char* name, std::int64_t rows, std::int64_t cols,
                                           DType dtype = DType::kFloat32) {
  return counting(name, std::vector<std::int64_t>{rows, cols}, dtype);
}

/// Images 2 and 0 of three: 2 x 3 and 1 x 1 patches behind one prefix token each; one image and two tokens of padding.
Pack two_images() {
  Pack pack;
  pack.segments = {{2, 0, {2, 3}}, {0, 7, {1, 1}}};
  pack.images = 3;
  pack.tokens = 11;
  pack.used_tokens = 9;
  pack.longest = 7;
  return pack;
}

ModelSpec one_prefix_token() {
  ModelSpec model;
  model.prefix_tokens = 1;
  return model;
}

}  // namespace

TEST_CASE("every image gets its own rows, as views of the pack's memory") {
  std::vector<Result> results(3);
  const std::vector<std::shared_ptr<const HostTensor>> outputs{counting("logits", 3, 4), counting("embedding", 3, 2),
                                                               counting("tokens", 11, 2)};
  unpack(two_images(), outputs, one_prefix_token(), results);
  CHECK(results[2].logits.data == outputs[0]->as<float>());
  CHECK(results[2].logits.rows == 1);
  CHECK(results[2].logits.cols == 4);
  CHECK(results[0].logits.data[0] == 4.0F);
  CHECK(results[0].embedding.data[0] == 2.0F);
  CHECK(results[2].token_features.rows == 6);
  CHECK(results[2].token_features.cols == 2);
  CHECK(results[2].token_features.data[0] == 2.0F);  // behind the prefix token
  CHECK(results[0].token_features.rows == 1);
  CHECK(results[0].token_features.data[0] == 16.0F);  // token 8
  CHECK(results[1].logits.empty());
  CHECK(results[1].token_features.empty());
  CHECK(results[2].first_token == 0);
  CHECK(results[0].first_token == 7);
  CHECK(results[0].pack_tokens == 11);  // padding included
  CHECK(results[1].pack_tokens == 0);   // in no pack
}

TEST_CASE("a view outlives everything but itself") {
  std::vector<Result> results(3);
  {
    const std::vector<std::shared_ptr<const HostTensor>> outputs{counting("embedding", 3, 2)};
    unpack(two_images(), outputs, one_prefix_token(), results);
  }
  const OutputView kept = results[0].embedding;
  results.clear();
  CHECK(kept.data[1] == 3.0F);
  CHECK(kept.owner.use_count() == 1);
}

TEST_CASE("a result of less than half of its pack owns all of its outputs, one of more keeps the pack") {
  std::vector<Result> results(3);
  std::weak_ptr<const HostTensor> pack;
  {
    const std::vector<std::shared_ptr<const HostTensor>> outputs{counting("embedding", 3, 2),
                                                                 counting("tokens", 11, 2)};
    pack = outputs[1];
    unpack(two_images(), outputs, one_prefix_token(), results);
  }
  CHECK(results[0].pack_bytes == (3 * 2 + 11 * 2) * sizeof(float));
  Result small = results[0];
  Result large = results[2];
  const float* const place = large.token_features.data;
  small.own_outputs();
  CHECK(std::ranges::equal(small.token_features.values(), results[0].token_features.values()));
  CHECK(small.token_features.data != results[0].token_features.data);
  results.clear();
  CHECK(!pack.expired());
  large.pack_bytes = 2 * sizeof(float) * static_cast<std::size_t>(large.token_features.count());
  large.own_outputs();  // what it keeps is no more than twice its own
  CHECK(large.token_features.data == place);
  large.pack_bytes += sizeof(float);
  large.own_outputs();
  CHECK(large.token_features.data != place);
  CHECK(pack.expired());
}

TEST_CASE("rows of its own let go of the pack, and tokens do where they are copied") {
  std::vector<Result> results(3);
  std::weak_ptr<const HostTensor> pack;
  {
    const std::vector<std::shared_ptr<const HostTensor>> outputs{counting("logits", 3, 4), counting("embedding", 3, 2),
                                                                 counting("tokens", 11, 2)};
    pack = outputs[1];
    unpack(two_images(), outputs, one_prefix_token(), results);
  }
  Result kept = results[0];
  kept.own_rows();
  kept.token_features = kept.token_features.copied();
  CHECK(kept.logits.data != results[0].logits.data);
  for (const auto& [own, view] :
       {std::pair{&kept.logits, &results[0].logits}, std::pair{&kept.embedding, &results[0].embedding},
        std::pair{&kept.token_features, &results[0].token_features}}) {
    CHECK(own->rows == view->rows);
    CHECK(own->cols == view->cols);
    CHECK(std::ranges::equal(own->values(), view->values()));
  }
  results.clear();
  CHECK(pack.expired());
  CHECK(kept.embedding.data[1] == 3.0F);
  Result none;
  none.own_rows();
  CHECK(none.logits.empty());
  CHECK(none.logits.copied().empty());
}

TEST_CASE("outputs of other shapes, types or names are refused") {
  const auto with = [](std::shared_ptr<const HostTensor> output, std::size_t images = 3) {
    std::vector<Result> results(images);
    const std::vector<std::shared_ptr<const HostTensor>> outputs{std::move(output)};
    unpack(two_images(), outputs, one_prefix_token(), results);
    return results;
  };
  CHECK_THROWS_WITH_AS(with(counting("logits", 2, 4)), "N = 3", BundleError);
  CHECK_THROWS_WITH_AS(with(counting("tokens", 9, 4)), "T = 11", BundleError);
  CHECK_THROWS_WITH_AS(with(counting("logits", 3, 4, DType::kInt32)), "expected float32", BundleError);
  CHECK_THROWS_WITH_AS(with(counting("attention", 3, 4)), "known: logits, embedding, tokens, projected, deepstack",
                       BundleError);
  CHECK_THROWS_WITH_AS(with(counting("logits", 3, 4), 2), "there are 2 results", InvalidInput);
}

TEST_CASE("of merged tokens an image gets one row for every block of patches") {
  Pack pack;
  pack.segments = {{1, 0, {2, 4}}, {0, 8, {2, 2}}};
  pack.images = 2;
  pack.tokens = 14;  // two of padding, which make no row
  pack.used_tokens = 12;
  ModelSpec model;
  model.token_merge = 2;
  std::vector<Result> results(2);
  unpack(pack, std::vector<std::shared_ptr<const HostTensor>>{counting("tokens", 3, 2)}, model, results);
  CHECK(results[1].token_features.rows == 2);
  CHECK(results[1].token_features.data[0] == 0.0F);
  CHECK(results[0].token_features.rows == 1);
  CHECK(results[0].token_features.data[0] == 4.0F);
  const std::vector<std::shared_ptr<const HostTensor>> unmerged{counting("tokens", 14, 2)};
  CHECK_THROWS_WITH_AS(unpack(pack, unmerged, model, results), "T/4 = 3", BundleError);
  pack.segments[0].grid = {1, 8};
  const std::vector<std::shared_ptr<const HostTensor>> merged{counting("tokens", 3, 2)};
  CHECK_THROWS_WITH_AS(unpack(pack, merged, model, results), "1 x 8 patches and the model merges 2 x 2", BundleError);
}

TEST_CASE("an attention map has a row for each patch, behind those of prefix tokens") {
  std::vector<Result> results(3);
  unpack(two_images(), std::vector{counting("attention_map", 11, 2)}, one_prefix_token(), results);
  CHECK(results[2].attention_map.rows == 6);
  CHECK(results[2].attention_map.cols == 2);
  CHECK(results[2].attention_map.data[0] == 2.0F);
  CHECK(results[0].attention_map.data[0] == 16.0F);
  results[0].own_outputs();
  CHECK(results[0].attention_map.data[1] == 17.0F);
  results[2].drop_outputs();
  CHECK(results[2].attention_map.empty());
}

TEST_CASE("outputs that merge patches differently have rows of their own") {
  Pack pack;
  pack.segments = {{1, 0, {2, 4}}, {0, 8, {2, 2}}};
  pack.images = 2;
  pack.tokens = 14;
  pack.used_tokens = 12;
  ModelSpec model;
  model.projected_merge = model.deepstack_merge = 2;
  std::vector<Result> results(2);
  const std::vector<std::shared_ptr<const HostTensor>> outputs{
      counting("tokens", 14, 3), counting("projected", 3, 5),
      counting("deepstack", std::vector<std::int64_t>{3, 2, 5})};
  unpack(pack, outputs, model, results);
  CHECK(results[0].token_features.rows == 4);
  CHECK(results[0].token_features.data[0] == 24.0F);
  CHECK(results[0].projected.rows == 1);
  CHECK(results[0].projected.cols == 5);
  CHECK(results[0].projected.data[0] == 10.0F);
  CHECK(results[1].deepstack.rows == 2);
  CHECK(results[1].deepstack.layers == 2);
  CHECK(results[1].deepstack.cols == 5);
  CHECK(results[1].deepstack.values().size() == 20);
  CHECK(results[0].deepstack.data[0] == 20.0F);
  const OutputView copy = results[0].deepstack.copied();
  CHECK(copy.layers == 2);
  CHECK(std::ranges::equal(copy.values(), results[0].deepstack.values()));
  results[0].drop_outputs();
  CHECK(results[0].projected.empty());
  const std::vector<std::shared_ptr<const HostTensor>> flat{counting("deepstack", 3, 10)};
  CHECK_THROWS_WITH_AS(unpack(pack, flat, model, results), "T/4 = 3, layers, width", BundleError);
}
