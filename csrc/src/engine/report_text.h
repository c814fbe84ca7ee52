// What backends report of their engines, as JSON.
#pragma once

#include <span>
#include <string>

#include "navit_edge/cores.h"

namespace navit_edge {

/// An engine of a group, or the engines of a device, and the object that its backend reports.
struct EngineReport {
  std::string id;
  std::string text;
};

/// One object for the engines of a group, or of several devices: {`kind`: {id: its report}, "warnings": those of all}.
std::string report_of_all(const char* kind, std::span<const EngineReport> reports);

/// The report with one more of its "warnings".
std::string with_warning(const std::string& report, const std::string& warning);

/// What a session adds of itself: how many threads it takes, which engine, and why.
struct ChoiceReport {
  CpuLimits limits;
  int threads = 1;          // that the session takes
  int asked = 0;            // that somebody named; 0: nobody did
  bool one_of_cpu = false;  // one engine, on a CPU: it takes the cores of one socket
  std::string engine;       // that runs
  std::string why;          // it was taken, as its candidate says
  std::string jpeg;         // how submitted JPEG files are decoded: a word of Decode
  int decoders = 1;         // threads that decode them
};

/// The report with "cpu": threads, limits, "why" in words, and a "hint" if there is one; "choice":
/// engine and why; "decode": its threads, and how JPEG files are decoded.
std::string with_choice(const std::string& report, const ChoiceReport& choice);

}  // namespace navit_edge
