#include "navit_edge/vocabulary.h"

#include "navit_edge/error.h"

namespace navit_edge {

std::string list_of(std::span<const std::string_view> words) {
  std::string list;
  for (const std::string_view word : words) list.append(list.empty() ? "" : ", ").append(word);
  return list.empty() ? "none" : list;
}

void unknown_word(std::string_view what, std::string_view word, const std::string& known) {
  throw InvalidInput(std::string(what) + " is '" + std::string(word) + "'; expected one of " + known);
}

}  // namespace navit_edge
