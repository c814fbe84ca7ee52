// Libraries that decode, opened when the program runs.
#pragma once

#include <dlfcn.h>

#include <string>

namespace navit_edge {

/// A library for good; null if it cannot be opened, and `why_not` ends with `remedy`.
void* open_codec(const std::string& name, const std::string& remedy, std::string& why_not);

/// Whether the library, or one that it is linked to, has the function.
template <class Function>
bool find_function(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

/// The file that a function was found in; `otherwise` if nobody knows.
std::string file_of(void* function, const std::string& otherwise);

}  // namespace navit_edge
