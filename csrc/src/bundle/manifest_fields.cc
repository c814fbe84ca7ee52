#include "bundle/manifest_fields.h"

#include <algorithm>

#include "navit_edge/manifest_text.h"

namespace navit_edge {
namespace {

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

}  // namespace

std::string read_id(const JsonReader& json) {
  std::string id = json.string();
  const bool plain = !id.empty() && is_letter_or_digit(id.front()) && std::all_of(id.begin(), id.end(), [](char c) {
    return is_letter_or_digit(c) || c == '.' || c == '_' || c == '+' || c == '-';
  });
  if (!plain) json.fail("letters, digits and . _ + -, the first a letter or digit");
  return id;
}

std::string read_name(const JsonReader& json) {
  std::string text = json.string();
  if (text.empty()) json.fail("a name");
  return text;
}

std::string read_listed_file(const JsonReader& json, const Manifest& manifest) {
  std::string name = json.string();
  if (!stays_inside(name)) {
    json.fail("a relative path inside of the bundle, without '..', '.', '//', '\\' or a drive, not manifest.json");
  }
  if (!manifest.files.contains(name)) json.fail("a file that `files` lists with its sha256");
  return name;
}

std::string read_sha256(const JsonReader& json) {
  std::string hash = json.string();
  const bool hex = hash.size() == 64 && std::all_of(hash.begin(), hash.end(), [](char c) {
                     return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                   });
  if (!hex) json.fail("64 lower-case hexadecimal digits");
  return hash;
}

void check_unique_ids(const JsonReader& list, std::size_t most) {
  std::set<std::string> ids;
  for (const JsonReader& item : list.array(most)) {
    const JsonReader id = item.at("id");
    if (!ids.insert(id.string()).second) id.fail("an id that no other entry has; this one is there twice");
  }
}

}  // namespace navit_edge
