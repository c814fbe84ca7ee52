// Typed, checked access to a JSON document. Every failure names the field, what was found and what was expected.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bundle/json_text.h"
#include "navit_edge/types.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// Bytes of one string of a document.
inline constexpr std::size_t kMostStringBytes = 4096;
/// Entries of an object whose names are free, such as an engine's options.
inline constexpr std::size_t kMostMapEntries = 1024;

/// A value inside of a document and the way to it ("engines[0].budgets"). The readers of a document share it.
class JsonReader {
 public:
  /// The whole of a text, which is checked (check_json). `source` ends up in every message:
  /// "<file>: <field> is <found>; expected <expected>; <remedy>".
  JsonReader(std::string_view text, JsonSource source);
  /// The same value, whose messages name another source.
  [[nodiscard]] JsonReader with_source(JsonSource source) const;

  /// A field that must be there.
  [[nodiscard]] JsonReader at(const std::string& key) const;
  /// A field that may be missing. Null is a value like any other, and none of the types below.
  [[nodiscard]] bool has(const std::string& key) const;
  /// A field that may be missing, or null, which says the same.
  [[nodiscard]] bool has_value(const std::string& key) const;
  /// Fails if the object has a field beside `known`, unless the source is of a later minor version.
  void only(std::initializer_list<std::string_view> known) const;

  /// Of at most kMostStringBytes, without control characters other than the tab.
  [[nodiscard]] std::string string() const;
  [[nodiscard]] std::string name() const;  // a string that is not empty
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] std::int64_t integer(std::int64_t lowest, std::int64_t highest) const;
  [[nodiscard]] std::int32_t int32(std::int32_t lowest) const;
  [[nodiscard]] std::int32_t int32(std::int32_t lowest, std::int32_t highest) const;
  [[nodiscard]] double number() const;  // finite, as all numbers of JSON
  [[nodiscard]] double number(double lowest, double highest) const;
  [[nodiscard]] double positive_number() const;  // 0 and up
  [[nodiscard]] std::vector<JsonReader> array(std::size_t most) const;
  [[nodiscard]] std::map<std::string, JsonReader> object(std::size_t most) const;
  [[nodiscard]] std::map<std::string, std::string> string_map() const;  // of at most kMostMapEntries
  /// One of the words of an enum.
  template <class Enum>
  [[nodiscard]] Enum word() const {
    return value_at<Enum>(word_index(kWords<Enum>.words));
  }
  /// Which of `words` it is.
  [[nodiscard]] std::size_t word_index(std::span<const std::string_view> words) const;
  [[nodiscard]] Rgb colour() const;  // [R, G, B]
  [[nodiscard]] bool is_object() const;
  [[nodiscard]] bool is_string() const;
  [[nodiscard]] bool is_integer() const;

  /// Throws BundleError about this value.
  [[noreturn]] void fail(const std::string& expected) const;

 private:
  struct Document;
  JsonReader(const nlohmann::json& value, const JsonReader& parent, std::string where);
  [[nodiscard]] std::string child(const std::string& key) const;
  [[nodiscard]] std::string found() const;

  std::shared_ptr<const Document> document_;  // what value_ points into, and its source
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace navit_edge
