#include "decode/codec_library.h"

namespace navit_edge {

void* open_codec(const std::string& name, const std::string& remedy, std::string& why_not) {
  void* const library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const error = dlerror();
    why_not = name + " cannot be opened (" + (error != nullptr ? error : "no reason given") + "); " + remedy;
  }
  return library;
}

std::string file_of(void* function, const std::string& otherwise) {
  Dl_info where{};
  const bool known = dladdr(function, &where) != 0 && where.dli_fname != nullptr;
  return known ? where.dli_fname : otherwise;
}

}  // namespace navit_edge
