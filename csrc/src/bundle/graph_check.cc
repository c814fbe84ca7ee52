#include "bundle/graph_check.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "bundle/merge_shapes.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

/// A tensor of the contract. `letters`: one a dimension; '2' and 'F' are extents, '+' is N+1, 'M' is T or a part of it,
/// 'D' is any fixed extent, 'R' and 'A' what a merge of tokens leaves of T and L (merge_shapes.h says which).
struct Contract {
  DType dtype;
  std::string_view letters;
};

/// [GraphInput]
constexpr std::array<Contract, 14> kInputs{{{DType::kUInt8, "TF"},
                                            {DType::kInt32, "T2"},
                                            {DType::kInt32, "T"},
                                            {DType::kInt32, "N2"},
                                            {DType::kInt32, "NL"},
                                            {DType::kInt32, "T"},
                                            {DType::kInt32, "+"},
                                            {DType::kInt32, "RD"},
                                            {DType::kInt32, "R2"},
                                            {DType::kInt32, "R"},
                                            {DType::kInt32, "T"},
                                            {DType::kInt32, "R"},
                                            {DType::kInt32, "NA"},
                                            {DType::kInt32, "R"}}};
/// [GraphOutput]
constexpr std::array<Contract, 6> kOutputs{{{DType::kFloat32, "ND"},
                                            {DType::kFloat32, "ND"},
                                            {DType::kFloat32, "MD"},
                                            {DType::kFloat32, "MD"},
                                            {DType::kFloat32, "MDD"},
                                            {DType::kFloat32, "TD"}}};

std::string dim_in_words(const Dim& dim) {
  if (dim.symbol == '\0') return std::to_string(dim.extent);
  if (dim.images > 0 || dim.times > 1) return merge_word(dim);
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
    case 'R':
      return dim.symbol == '\0' || (dim.symbol == 'T' && dim.images > 0);
    case 'A':
      return dim.symbol == '\0' || (dim.symbol == 'L' && dim.extent > 0);
    case 'M':
      return dim.symbol == '\0' || (dim.symbol == 'T' && dim.extent == 0 && dim.images == 0);
    default:
      return dim.symbol == '\0' || (dim.symbol == letter && dim.extent == 0 && dim.parts == 1 &&
                                    dim.images == 0);  // an extent: a graph for one budget
  }
}

std::string expected_in_words(const Contract& contract, std::int64_t patch_values) {
  std::string words = std::string(word_of(contract.dtype)) + " [";
  for (std::size_t d = 0; d < contract.letters.size(); ++d) {
    words += (d > 0 ? ", " : "") + (contract.letters[d] == 'F'   ? std::to_string(patch_values)
                                    : contract.letters[d] == '+' ? "N+1"
                                    : contract.letters[d] == 'M' ? "T"
                                                                 : std::string(1, contract.letters[d]));
  }
  return words + "]";
}

/// Which of the contract's inputs or outputs `spec` is.
template <class Enum, std::size_t n>
Enum checked(const GraphSpec& graph, const TensorSpec& spec, const PreprocessSpec& preprocess,
             const std::array<Contract, n>& contracts) {
  static_assert(n == kWords<Enum>.words.size(), "a contract for each word");
  const std::string kind(kWords<Enum>.what);
  const std::optional<Enum> found = find_word<Enum>(spec.name);
  if (!found) {
    throw BundleError("graph " + graph.id + " has the " + kind + " '" + spec.name +
                      "', which this version does not know; known: " + list_of(kWords<Enum>.words) +
                      "; export the model again or update navit-edge");
  }
  const std::int64_t patch_values =
      std::int64_t{preprocess.patch_px} * preprocess.patch_px * kChannels * preprocess.frames;
  const Contract& contract = contracts[static_cast<std::size_t>(*found)];
  bool same = spec.dtype == contract.dtype && spec.shape.size() == contract.letters.size();
  for (std::size_t d = 0; same && d < spec.shape.size(); ++d) {
    same = dim_is(spec.shape[d], contract.letters[d], patch_values);
  }
  if (same) return *found;
  throw BundleError("graph " + graph.id + ": " + kind + " " + spec.name + " is " + shape_in_words(spec) +
                    "; expected " + expected_in_words(contract, patch_values) + "; export the model again");
}

}  // namespace

std::vector<GraphInput> graph_inputs(const GraphSpec& graph, const PreprocessSpec& preprocess) {
  std::vector<GraphInput> inputs;
  for (const TensorSpec& spec : graph.inputs) {
    inputs.push_back(checked<GraphInput>(graph, spec, preprocess, kInputs));
  }
  return inputs;
}

void check_graph(const GraphSpec& graph, const PreprocessSpec& preprocess) {
  (void)graph_inputs(graph, preprocess);
  for (const TensorSpec& spec : graph.outputs) (void)checked<GraphOutput>(graph, spec, preprocess, kOutputs);
}

}  // namespace navit_edge
