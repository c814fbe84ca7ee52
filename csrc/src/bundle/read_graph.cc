#include "bundle/read_graph.h"

#include <array>
#include <set>
#include <string_view>

#include "bundle/manifest_fields.h"

namespace navit_edge {
namespace {

constexpr const ManifestLimits& kLimits = kManifestLimits;
constexpr std::array<std::string_view, 5> kLetterWords{"T", "T/4", "N", "L", "N+1"};
constexpr std::array<Dim, 5> kLetters{{{'T', 0, 1}, {'T', 0, 4}, {'N', 0, 1}, {'L', 0, 1}, {'N', 1, 1}}};

TensorSpec read_tensor(const JsonReader& json) {
  json.only({"name", "dtype", "shape"});
  TensorSpec tensor;
  tensor.name = read_name(json.at("name"));
  tensor.dtype = json.at("dtype").word<DType>();
  const JsonReader shape = json.at("shape");
  for (const JsonReader& item : shape.array(kLimits.dimensions)) {
    Dim dim;
    if (item.is_string()) {
      dim = kLetters[item.word_index(kLetterWords)];
    } else {
      dim.extent = item.int32(1);
    }
    tensor.shape.push_back(dim);
  }
  if (tensor.shape.empty()) shape.fail("one extent or more");
  return tensor;
}

std::vector<TensorSpec> read_tensors(const JsonReader& json) {
  std::vector<TensorSpec> tensors;
  std::set<std::string> names;
  for (const JsonReader& item : json.array(kLimits.tensors)) {
    tensors.push_back(read_tensor(item));
    if (!names.insert(tensors.back().name).second) item.fail("a name that no other tensor of the list has");
  }
  if (tensors.empty()) json.fail("at least one tensor");
  return tensors;
}

/// Rows of "tokens" follow the model's merging; logits have a label each, where there are labels.
void check_outputs(const JsonReader& json, const GraphSpec& graph, const Manifest& manifest) {
  const bool merged = manifest.model.token_merge == 2;
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    const TensorSpec& tensor = graph.outputs[i];
    const Dim& rows = tensor.shape.front();
    const auto shape = [&] { return json.array(kLimits.tensors)[i].at("shape"); };
    if (tensor.name == "tokens" && rows.symbol != '\0' && (rows.symbol != 'T' || rows.parts != (merged ? 4 : 1))) {
      shape().fail(std::string(merged ? "T/4" : "T") + " rows of tokens with token_merge " + (merged ? "2" : "1"));
    }
    const Dim& classes = tensor.shape.back();
    if (tensor.name == "logits" && !manifest.labels.empty() &&
        (classes.symbol != '\0' || classes.extent != static_cast<std::int64_t>(manifest.labels.size()))) {
      shape().fail("one class for each of the " + std::to_string(manifest.labels.size()) + " labels");
    }
  }
}

}  // namespace

GraphSpec read_graph(const JsonReader& json, const Manifest& manifest) {
  json.only({"id", "lowering", "quantization", "file", "opset", "inputs", "outputs"});
  GraphSpec graph;
  graph.id = read_id(json.at("id"));
  graph.lowering = json.at("lowering").word<Lowering>();
  if (json.has("quantization")) graph.quantization = json.at("quantization").word<Quantization>();
  graph.file = read_listed_file(json.at("file"), manifest);
  (void)json.at("opset").int32(1);
  graph.inputs = read_tensors(json.at("inputs"));
  graph.outputs = read_tensors(json.at("outputs"));
  check_outputs(json.at("outputs"), graph, manifest);
  return graph;
}

}  // namespace navit_edge
