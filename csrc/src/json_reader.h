// Typed, checked access to a JSON document. Every failure names the field, what was found and what was expected.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace navit_edge {

/// A value inside of a document and the way to it ("engines[0].budgets"). Borrows the document.
class JsonReader {
 public:
  /// `file` and `remedy` end up in every message: "<file>: <field> is <found>; expected <expected>; <remedy>".
  JsonReader(const nlohmann::json& value, std::string file, std::string remedy)
      : value_(&value), file_(std::move(file)), remedy_(std::move(remedy)) {}

  /// A field that must be there.
  [[nodiscard]] JsonReader at(const std::string& key) const;
  /// A field that may be missing; null counts as missing.
  [[nodiscard]] bool has(const std::string& key) const;

  [[nodiscard]] std::string string() const;
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] std::int64_t integer(std::int64_t lowest, std::int64_t highest) const;
  [[nodiscard]] std::int32_t int32(std::int32_t lowest) const;
  [[nodiscard]] double positive_number() const;  // 0 and up, finite
  [[nodiscard]] std::vector<JsonReader> array() const;
  [[nodiscard]] std::map<std::string, JsonReader> object() const;
  [[nodiscard]] std::map<std::string, std::string> string_map() const;
  [[nodiscard]] bool is_string() const { return value_->is_string(); }
  [[nodiscard]] bool is_integer() const { return value_->is_number_integer(); }

  /// Throws BundleError about this value.
  [[noreturn]] void fail(const std::string& expected) const;

 private:
  JsonReader(const nlohmann::json& value, const JsonReader& parent, std::string where)
      : value_(&value), file_(parent.file_), remedy_(parent.remedy_), where_(std::move(where)) {}
  [[nodiscard]] std::string child(const std::string& key) const { return where_.empty() ? key : where_ + "." + key; }

  const nlohmann::json* value_;
  std::string file_;
  std::string remedy_;
  std::string where_;
};

}  // namespace navit_edge
