#include "bundle/graph_check.h"

#include <utility>

#include "navit_edge/error.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

Dim letter(char symbol) { return {symbol, 0}; }
Dim fixed(std::int64_t extent) { return {'\0', extent}; }

PreprocessSpec patches_of_4() {
  PreprocessSpec preprocess;
  preprocess.patch_px = 4;
  return preprocess;
}

void check_input(TensorSpec spec) {
  GraphSpec graph;
  graph.inputs = {std::move(spec)};
  check_graph(graph, patches_of_4());
}

void check_output(TensorSpec spec) {
  GraphSpec graph;
  graph.outputs = {std::move(spec)};
  check_graph(graph, patches_of_4());
}

}  // namespace

TEST_CASE("inputs that the contract does not know are refused, with what it expects") {
  check_input({"patches", DType::kUInt8, {letter('T'), fixed(48)}});
  CHECK_THROWS_WITH_AS(check_input({"mask", DType::kFloat32, {letter('T'), letter('T')}}), "has the input 'mask'",
                       BundleError);
  CHECK_THROWS_WITH_AS(check_input({"patches", DType::kFloat32, {letter('T'), fixed(48)}}),
                       "patches is float32 [T, 48]; expected uint8 [T, 48]", BundleError);
  CHECK_THROWS_WITH_AS(check_input({"patches", DType::kUInt8, {letter('T'), fixed(49)}}), "expected uint8 [T, 48]",
                       BundleError);
  CHECK_THROWS_WITH_AS(check_input({"positions", DType::kInt32, {letter('T')}}), "expected int32 [T, 2]", BundleError);
  CHECK_THROWS_WITH_AS(check_input({"grid_hw", DType::kInt32, {letter('T'), fixed(2)}}), "expected int32 [N, 2]",
                       BundleError);
  CHECK_THROWS_WITH_AS(check_input({"grid_hw", DType::kInt32, {{'N', 1}, fixed(2)}}), "is int32 [N+1, 2]; expected",
                       BundleError);
  CHECK_THROWS_WITH_AS(check_input({"cu_seqlens", DType::kInt32, {letter('N')}}), "is int32 [N]; expected int32 [N+1]",
                       BundleError);
}

TEST_CASE("outputs that the contract does not know are refused, with what it expects") {
  check_output({"logits", DType::kFloat32, {letter('N'), fixed(10)}});
  check_output({"tokens", DType::kFloat32, {{'T', 0, 4}, fixed(8)}});
  CHECK_THROWS_WITH_AS(check_output({"scores", DType::kFloat32, {letter('N'), fixed(10)}}), "has the output 'scores'",
                       BundleError);
  CHECK_THROWS_WITH_AS(check_output({"embedding", DType::kFloat16, {letter('N'), fixed(8)}}),
                       "embedding is float16 [N, 8]; expected float32 [N, D]", BundleError);
  CHECK_THROWS_WITH_AS(check_output({"logits", DType::kFloat32, {letter('T'), fixed(10)}}), "expected float32 [N, D]",
                       BundleError);
}
