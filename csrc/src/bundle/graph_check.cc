#include "bundle/graph_check.h"

#include <array>
#include <string>
#include <string_view>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

struct Contract {
  std::string_view name;
  DType dtype;
  std::string_view letters;  // one a dimension; '2' and 'F' are extents, '+' is N+1, 'M' is T or T/4
};

constexpr std::array<Contract, 7> kInputs{{{"patches", DType::kUInt8, "TF"},
                                           {"positions", DType::kInt32, "T2"},
                                           {"segment_ids", DType::kInt32, "T"},
                                           {"grid_hw", DType::kInt32, "N2"},
                                           {"attention_index", DType::kInt32, "NL"},
                                           {"token_index", DType::kInt32, "T"},
                                           {"cu_seqlens", DType::kInt32, "+"}}};

// 'D' is any fixed extent.
constexpr std::array<Contract, 3> kOutputs{
    {{"logits", DType::kFloat32, "ND"}, {"embedding", DType::kFloat32, "ND"}, {"tokens", DType::kFloat32, "MD"}}};

std::string dim_in_words(const Dim& dim) {
  if (dim.symbol == '\0') return std::to_string(dim.extent);
  return dim.symbol + (dim.parts != 1 ? "/" + std::to_string(dim.parts) : std::string()) +
         (dim.extent != 0 ? "+" + std::to_string(dim.extent) : std::string());
}

std::string shape_in_words(const TensorSpec& spec) {
  std::string words = std::string(word_of(spec.dtype)) + " [";
  for (std::size_t i = 0; i < spec.shape.size(); ++i) {
    words += (i > 0 ? ", " : "") + dim_in_words(spec.shape[i]);
  }
  return words + "]";
}

bool dim_is(const Dim& dim, char letter, std::int64_t patch_values) {
  switch (letter) {
    case '2':
      return dim.symbol == '\0' && dim.extent == 2;
    case 'F':
      return dim.symbol == '\0' && dim.extent == patch_values;
    case 'D':
      return dim.symbol == '\0';
    case '+':
      return dim.symbol == '\0' || (dim.symbol == 'N' && dim.extent == 1);
    case 'M':
      return dim.symbol == '\0' || (dim.symbol == 'T' && dim.extent == 0);
    default:
      return dim.symbol == '\0' ||
             (dim.symbol == letter && dim.extent == 0 && dim.parts == 1);  // an extent: a graph for one budget
  }
}

template <std::size_t n>
std::size_t find(const GraphSpec& graph, const TensorSpec& spec, const PreprocessSpec& preprocess, const char* kind,
                 const std::array<Contract, n>& contracts) {
  const std::int64_t patch_values = std::int64_t{preprocess.patch_px} * preprocess.patch_px * kChannels;
  for (std::size_t i = 0; i < n; ++i) {
    const Contract& contract = contracts[i];
    if (spec.name != contract.name) continue;
    bool same = spec.dtype == contract.dtype && spec.shape.size() == contract.letters.size();
    for (std::size_t d = 0; same && d < spec.shape.size(); ++d) {
      same = dim_is(spec.shape[d], contract.letters[d], patch_values);
    }
    if (same) return i;
    std::string expected = std::string(word_of(contract.dtype)) + " [";
    for (std::size_t d = 0; d < contract.letters.size(); ++d) {
      expected += (d > 0 ? ", " : "") + (contract.letters[d] == 'F'   ? std::to_string(patch_values)
                                         : contract.letters[d] == '+' ? "N+1"
                                         : contract.letters[d] == 'M' ? "T"
                                                                      : std::string(1, contract.letters[d]));
    }
    throw BundleError("graph " + graph.id + ": " + kind + " " + spec.name + " is " + shape_in_words(spec) +
                      "; expected " + expected + "]; export the model again");
  }
  std::string known;
  for (const Contract& contract : contracts) known += (known.empty() ? "" : ", ") + std::string(contract.name);
  throw BundleError("graph " + graph.id + " has the " + kind + " '" + spec.name +
                    "', which this version does not know; known: " + known +
                    "; export the model again or update navit-edge");
}

}  // namespace

std::vector<GraphInput> graph_inputs(const GraphSpec& graph, const PreprocessSpec& preprocess) {
  std::vector<GraphInput> inputs;
  for (const TensorSpec& spec : graph.inputs) {
    inputs.push_back(static_cast<GraphInput>(find(graph, spec, preprocess, "input", kInputs)));
  }
  return inputs;
}

void check_graph(const GraphSpec& graph, const PreprocessSpec& preprocess) {
  (void)graph_inputs(graph, preprocess);
  for (const TensorSpec& spec : graph.outputs) (void)find(graph, spec, preprocess, "output", kOutputs);
}

}  // namespace navit_edge
