// What backends report of their engines, as JSON.
#pragma once

#include <span>
#include <string>

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

}  // namespace navit_edge
