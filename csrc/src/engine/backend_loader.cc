#include "engine/backend_loader.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <system_error>

#include "engine/load_failure.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

std::string dl_error() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "unknown error of the dynamic loader";
}

fs::path directory_of_this_library() {
  Dl_info info{};
  link_map* map = nullptr;
  if (::dladdr1(reinterpret_cast<const void*>(&directory_of_this_library), &info, reinterpret_cast<void**>(&map),
                RTLD_DL_LINKMAP) == 0 ||
      info.dli_fname == nullptr) {
    return {};
  }
  // The loader has no path of the program itself, which a static library is part of, but what it was called by.
  const bool in_program = map != nullptr && map->l_name[0] == '\0';
  std::error_code error;
  const fs::path path = fs::canonical(in_program ? "/proc/self/exe" : info.dli_fname, error);
  return error ? fs::path() : path.parent_path();
}

/// Opens the vendor's libraries by path, so that the backend's need for their soname is met by the copy already loaded.
void open_vendor_libraries(const std::string& backend, const std::vector<fs::path>& directories, Attempts& attempts) {
  for (const std::string& prefix : vendor_prefixes(backend)) {
    for (const fs::path& directory : directories) {
      std::error_code error;
      std::vector<fs::path> files;
      for (const auto& entry : fs::directory_iterator(fs::absolute(directory), error)) {
        const std::string file = entry.path().filename().string();
        if (file == prefix || file.starts_with(prefix + ".")) files.push_back(entry.path());
      }
      if (error) attempts.push_back({directory.string(), error.message()});
      std::sort(files.begin(), files.end());
      for (const fs::path& file : files) {
        if (::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
          attempts.push_back({file.string(), dl_error()});
        }
      }
    }
  }
}

/// The files that may hold the backend, in the order they are tried.
std::vector<fs::path> candidate_files(const std::string& backend, const BackendSearch& search, Attempts& attempts) {
  const std::string file_name = library_file_name(backend);
  std::vector<fs::path> files;
  const auto add = [&](const fs::path& file) {
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
  };
  std::error_code error;
  for (const fs::path& entry : search.explicit_dirs) {
    if (entry.empty()) continue;
    const fs::path path = fs::absolute(entry, error);
    if (fs::is_regular_file(path, error)) {
      if (path.filename() == file_name) add(path);
    } else {
      add(path / file_name);
    }
  }
  if (const char* list = std::getenv("NAVIT_EDGE_BACKEND_DIR"); list != nullptr) {
    std::string rest(list);
    for (std::size_t begin = 0; begin <= rest.size();) {
      const std::size_t end = std::min(rest.find(':', begin), rest.size());
      const fs::path directory(rest.substr(begin, end - begin));
      begin = end + 1;
      if (directory.empty()) continue;
      if (directory.is_relative()) {
        attempts.push_back({directory.string(), "relative directories of NAVIT_EDGE_BACKEND_DIR are not searched"});
        continue;
      }
      add(directory / file_name);
    }
  }
  if (const fs::path here = directory_of_this_library(); !here.empty()) {
    add(here / file_name);
    add(here / "backends" / file_name);
    add(here / "navit_edge" / "backends" / file_name);
    add(here.parent_path() / "navit_edge" / "backends" / file_name);
    add(here.parent_path() / "lib" / file_name);
  }
#if defined(NAVIT_EDGE_INSTALL_BACKEND_DIR)
  add(fs::path(NAVIT_EDGE_INSTALL_BACKEND_DIR) / file_name);
#endif
  return files;
}

/// What a library says that does not speak this ABI. Asked for an earlier version it may name it: the number comes
/// first in the table of every version.
std::string spoken_by(navit_edge_backend_fn table_of) {
  for (std::uint32_t version = NAVIT_EDGE_BACKEND_ABI_VERSION; version-- > 1;) {
    const navit_edge_backend_table* table = table_of(version);
    if (table != nullptr) return "it speaks version " + std::to_string(table->abi_version);
  }
  return "it does not speak this ABI";
}

/// The table of the library at `file`, or null with the reason added to `attempts`.
const navit_edge_backend_table* open_backend(const fs::path& file, Attempts& attempts) {
  std::error_code error;
  if (!fs::exists(file, error)) {
    attempts.push_back({file.string(), kNoSuchFile});
    return nullptr;
  }
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    attempts.push_back({file.string(), dl_error()});
    return nullptr;
  }
  void* symbol = ::dlsym(library, NAVIT_EDGE_BACKEND_SYMBOL);
  if (symbol == nullptr) {
    attempts.push_back({file.string(), "it does not export " NAVIT_EDGE_BACKEND_SYMBOL ", so it is no backend"});
    return nullptr;
  }
  navit_edge_backend_fn table_of = nullptr;
  static_assert(sizeof(table_of) == sizeof(symbol));
  std::memcpy(&table_of, &symbol, sizeof(symbol));
  const navit_edge_backend_table* table = table_of(NAVIT_EDGE_BACKEND_ABI_VERSION);
  const std::string expected = "; expected version " + std::to_string(NAVIT_EDGE_BACKEND_ABI_VERSION) +
                               " of the backend ABI; rebuild it against this navit-edge";
  if (table == nullptr) {
    attempts.push_back({file.string(), spoken_by(table_of) + expected});
    return nullptr;
  }
  if (table->abi_version != NAVIT_EDGE_BACKEND_ABI_VERSION) {
    attempts.push_back({file.string(), "it speaks version " + std::to_string(table->abi_version) + expected});
    return nullptr;
  }
  if (table->probe == nullptr || table->open == nullptr || table->run == nullptr || table->close == nullptr ||
      table->query == nullptr || table->memory == nullptr) {
    attempts.push_back({file.string(), "its table lacks a function; rebuild it against this navit-edge"});
    return nullptr;
  }
  return table;
}

}  // namespace

void check_backend_call(std::int32_t code, const navit_edge_error& error, const std::string& what) {
  if (code == 0) return;
  const auto end = std::find(std::begin(error.message), std::end(error.message), '\0');
  std::string message(std::begin(error.message), end);
  if (message.empty()) message = "the backend gave code " + std::to_string(code) + " and no message";
  throw_error(static_cast<ErrorCode>(code), what + ": " + message);
}

Backend::Backend(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Backend::~Backend() = default;

const std::string& Backend::name() const noexcept { return impl_->name; }
const fs::path& Backend::path() const noexcept { return impl_->path; }

const Backend& Backend::load(const std::string& name, const BackendSearch& search) {
  // Leaked on purpose: backends live as long as the process, past every static destructor.
  static auto* mutex = new std::mutex;
  static auto* loaded = new std::map<std::string, const Backend*>;
  const std::lock_guard lock(*mutex);
  if (const auto found = loaded->find(name); found != loaded->end()) return *found->second;
  if (name.empty() || name.find('/') != std::string::npos) {
    throw BackendError("'" + name + "' is no backend's name; known: openvino, tensorrt, tensorrt-rtx");
  }

  Attempts attempts;
  open_vendor_libraries(name, search.vendor_dirs, attempts);
  for (const fs::path& file : candidate_files(name, search, attempts)) {
    const navit_edge_backend_table* table = open_backend(file, attempts);
    if (table == nullptr) continue;
    auto impl = std::make_unique<Impl>();
    impl->name = name;
    impl->path = file;
    impl->table = table;
    return *loaded->emplace(name, new Backend(std::move(impl))).first->second;
  }
  throw BackendError(load_failure(name, search, attempts));
}

Backend::Probe Backend::probe(const EngineSpec& engine) const {
  const auto options = c_options(engine.options);
  const auto builder = c_options(engine.builder);
  navit_edge_engine_desc desc{};
  desc.file = "";                                                                      // nothing is read yet
  desc.precision = word_of(engine.float_precision.value_or(engine.precision)).data();  // a literal: it ends with a zero
  desc.slots = 1;
  desc.options = options.data();
  desc.option_count = options.size();
  navit_edge_probe found{};
  navit_edge_error error{};
  check_backend_call(impl_->table->probe(&desc, builder.data(), builder.size(), &found, &error), error, engine.id);
  const auto text = [](const auto& chars) {
    return std::string(std::begin(chars), std::find(std::begin(chars), std::end(chars), '\0'));
  };
  return {text(found.library_version), text(found.device)};
}

}  // namespace navit_edge
