#include "captured.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>

namespace stand_in {
namespace {

std::mutex& mutex() {
  static auto* instance = new std::mutex;  // leaked: engines may be closed after static destructors
  return *instance;
}
std::map<std::string, std::shared_ptr<Model>>& models() {
  static auto* instance = new std::map<std::string, std::shared_ptr<Model>>;
  return *instance;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.name == b.name && a.type == b.type && a.input == b.input && a.shape.nbDims == b.shape.nbDims;
}

}  // namespace

const Tensor* Captured::find(const std::string& name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& one) { return one.name == name; });
  return found != tensors.end() ? &*found : nullptr;
}

std::shared_ptr<Model> Model::named(const std::string& name) {
  const std::lock_guard lock(mutex());
  const auto found = models().find(name);
  return found != models().end() ? found->second : nullptr;
}

void Model::add(const std::string& name, std::size_t budget, Captured captured) {
  const std::lock_guard lock(mutex());
  std::shared_ptr<Model>& model = models()[name];
  if (model == nullptr) model = std::make_shared<Model>();
  auto& graphs = model->graphs_;
  if (budget > graphs.size()) throw std::runtime_error("a budget was left out");
  const std::vector<Tensor>& others = graphs.empty() ? captured.tensors : graphs.front().front()->tensors;
  if (!std::equal(others.begin(), others.end(), captured.tensors.begin(), captured.tensors.end(), same))
    throw std::runtime_error("the graphs of a model have the same tensors in the same order");
  if (budget == graphs.size()) graphs.emplace_back();
  graphs[budget].push_back(std::make_unique<Captured>(std::move(captured)));
}

void Model::forget(const std::string& name) {
  const std::lock_guard lock(mutex());
  models().erase(name);
}

Captured* Model::take(std::size_t budget) {
  const std::lock_guard lock(mutex());
  for (const auto& captured : graphs_.at(budget)) {
    if (captured->taken) continue;
    captured->taken = true;
    return captured.get();
  }
  return nullptr;
}

void Model::let_go(Captured* captured) {
  const std::lock_guard lock(mutex());
  captured->taken = false;
}

}  // namespace stand_in
