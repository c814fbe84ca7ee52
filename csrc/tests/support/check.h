// A test framework of one header, in doctest's spelling: TEST_CASE, CHECK, REQUIRE, CHECK_THROWS_AS. Checks may be made
// from any thread. Each test file is a program: without arguments it runs every case, with one those whose name holds
// it.
#pragma once

#include <atomic>
#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

namespace check {

struct Case {
  const char* name;
  void (*body)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline std::atomic<int>& checks() {
  static std::atomic<int> count{0};
  return count;
}
inline std::atomic<int>& failures() {
  static std::atomic<int> count{0};
  return count;
}

struct Register {
  Register(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

/// Thrown by a failed REQUIRE: ends the case.
struct Abort {};

inline bool report(bool passed, const char* file, int line, const std::string& what) {
  ++checks();
  if (!passed) {
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    ++failures();
    std::fprintf(stderr, "%s:%d: FAILED: %s\n", file, line, what.c_str());
  }
  return passed;
}

/// Runs `body`; an empty string where it threw `Expected` with `text` in the message, else what came instead.
template <class Expected, class Body>
std::string thrown_instead_of(Body&& body, const std::string& text) {
  try {
    body();
  } catch (const Expected& e) {
    const std::string message = e.what();
    return message.find(text) != std::string::npos ? "" : "the message lacks \"" + text + "\": " + message;
  } catch (const std::exception& e) {
    return std::string("another exception was thrown: ") + e.what();
  } catch (...) {
    return "something was thrown that is no std::exception";
  }
  return "nothing was thrown";
}

inline int run(int argc, char** argv) {
  const std::string filter = argc > 1 ? argv[1] : "";
  int ran = 0;
  for (const Case& one : cases()) {
    if (std::string(one.name).find(filter) == std::string::npos) continue;
    ++ran;
    const int before = failures();
    try {
      one.body();
    } catch (const Abort&) {
    } catch (const std::exception& e) {
      report(false, one.name, 0, std::string("uncaught: ") + e.what());
    }
    if (failures() != before) std::fprintf(stderr, "in case: %s\n", one.name);
  }
  std::printf("%d cases, %d checks, %d failures\n", ran, checks().load(), failures().load());
  return failures() == 0 && ran > 0 && checks() > 0 ? 0 : 1;
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST_CASE(name) TEST_CASE_AT(name, __LINE__)
#define TEST_CASE_AT(name, line)                                                              \
  static void CHECK_JOIN(case_, line)();                                                      \
  static const ::check::Register CHECK_JOIN(register_, line)(name, &CHECK_JOIN(case_, line)); \
  static void CHECK_JOIN(case_, line)()

#define CHECK(...) ::check::report(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)
#define REQUIRE(...) \
  if (!CHECK(__VA_ARGS__)) throw ::check::Abort()
#define CHECK_THROWS_AS(expression, type) CHECK_THROWS_WITH_AS(expression, "", type)
/// `text` must be part of the message.
#define CHECK_THROWS_WITH_AS(expression, text, type)                                                         \
  do {                                                                                                       \
    const std::string instead = ::check::thrown_instead_of<type>([&] { (void)(expression); }, text);         \
    ::check::report(instead.empty(), __FILE__, __LINE__, #expression " should throw " #type ": " + instead); \
  } while (false)

int main(int argc, char** argv) { return check::run(argc, argv); }
