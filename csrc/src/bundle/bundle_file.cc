#include "bundle/bundle_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "base/descriptor.h"
#include "bundle/sha256.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBytes = std::size_t{1} << 20;  // hashed while they are still in the cache
constexpr const char* kCopyFiles = "; copy the bundle with its files in place of links: cp -rL";

std::string words_of(int error) { return std::generic_category().message(error); }

/// Throws what is to be said of `path`, which lies as `entry` in `directory` and did not open with `error`.
[[noreturn]] void refuse(const Descriptor& directory, const fs::path& entry, const fs::path& path, bool is_last,
                         int error, const FileSpec& expected, const std::string& remedy) {
  struct stat status{};
  const bool there = ::fstatat(directory.get(), entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (there && S_ISLNK(status.st_mode)) {
    throw BundleError(path.string() + " is a link; expected " + (is_last ? "a regular file" : "a directory") +
                      " of the bundle itself" + kCopyFiles);
  }
  if (!there && errno == ENOENT) {
    throw BundleError(path.string() + " is missing; the manifest lists it with " + std::to_string(expected.bytes) +
                      " bytes; " + remedy);
  }
  if (there && !is_last && !S_ISDIR(status.st_mode)) {
    throw BundleError(path.string() + " is not a directory; expected one of the bundle; " + remedy);
  }
  if (there && is_last && !S_ISREG(status.st_mode)) {
    throw BundleError(path.string() + " is not a regular file; " + remedy);
  }
  throw BundleError(path.string() + " cannot be read (" + words_of(error) + "); check its permissions");
}

/// Walks from the bundle's directory to the file, one entry at a time, and follows no link on the way.
Descriptor open_inside(const fs::path& bundle, const fs::path& name, const FileSpec& expected,
                       const std::string& remedy) {
  Descriptor at(::open(bundle.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (at.get() < 0) {
    throw BundleError("the bundle " + bundle.string() + " cannot be opened (" + words_of(errno) +
                      "); expected its directory");
  }
  fs::path path = bundle;
  for (auto entry = name.begin(); entry != name.end(); ++entry) {
    const bool is_last = std::next(entry) == name.end();
    path /= *entry;
    // Without O_NONBLOCK a pipe would wait for its writer.
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (is_last ? O_NONBLOCK | O_NOCTTY : O_DIRECTORY);
    Descriptor next(::openat(at.get(), entry->c_str(), flags));
    if (next.get() < 0) refuse(at, *entry, path, is_last, errno, expected, remedy);
    at = std::move(next);
  }
  return at;
}

/// Throws if this machine cannot hold the file at all: a sparse file may say any size.
void require_memory(const fs::path& path, std::uint64_t bytes) {
  const std::int64_t pages = ::sysconf(_SC_PHYS_PAGES);
  const std::int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return;
  const std::uint64_t memory = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
  if (bytes <= memory) return;
  throw BundleError(path.string() + " has " + std::to_string(bytes) + " bytes; this machine has " +
                    std::to_string(memory) + " of memory; open the bundle on a larger one");
}

/// Reads up to `room.size()` bytes: fewer only at the end of the file.
std::size_t read_full(int fd, std::span<std::byte> room, const fs::path& path) {
  std::size_t held = 0;
  while (held < room.size()) {
    const ssize_t got = ::read(fd, room.data() + held, room.size() - held);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw BundleError(path.string() + " cannot be read (" + words_of(errno) + "); check the disk");
    if (got == 0) break;
    held += static_cast<std::size_t>(got);
  }
  return held;
}

}  // namespace

FileBytes read_verified(const fs::path& bundle, const std::string& name, const FileSpec& expected,
                        const std::string& remedy) {
  const fs::path path = bundle / name;
  const Descriptor file = open_inside(bundle, name, expected, remedy);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) {
    throw BundleError(path.string() + " cannot be read (" + words_of(errno) + "); check its permissions");
  }
  if (!S_ISREG(status.st_mode)) throw BundleError(path.string() + " is not a regular file; " + remedy);
  const auto differs = [&](std::uint64_t bytes) {
    return BundleError(path.string() + " has " + std::to_string(bytes) + " bytes; the manifest says " +
                       std::to_string(expected.bytes) + ": it was truncated or altered; " + remedy);
  };
  if (static_cast<std::uint64_t>(status.st_size) != expected.bytes) {
    throw differs(static_cast<std::uint64_t>(status.st_size));
  }
  require_memory(path, expected.bytes);
#if defined(POSIX_FADV_SEQUENTIAL)
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
#endif

  FileBytes content;
  try {
    content = FileBytes(static_cast<std::size_t>(expected.bytes));
  } catch (const std::bad_alloc&) {
    throw BundleError(path.string() + " has " + std::to_string(expected.bytes) +
                      " bytes, for which no memory is free; close other programs");
  }
  Sha256 hash;
  const std::span<std::byte> all = content.bytes();
  for (std::size_t held = 0; held < all.size();) {
    const std::span<std::byte> part = all.subspan(held, std::min(kReadBytes, all.size() - held));
    const std::size_t got = read_full(file.get(), part, path);
    held += got;
    if (got < part.size()) throw differs(held);
    hash.update(part);
  }
  if (std::byte more{}; read_full(file.get(), {&more, 1}, path) != 0) throw differs(expected.bytes + 1);
  if (const std::string found = hash.finish(); found != expected.sha256) {
    throw BundleError(path.string() + " was altered: its sha256 is " + found + "; the manifest says " +
                      expected.sha256 + "; " + remedy);
  }
  return content;
}

}  // namespace navit_edge
