#include "bundle/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/descriptor.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

const char* kind_of(mode_t mode) {
  if (S_ISLNK(mode)) return "a link";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe (FIFO)";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "no file";
}

}  // namespace

std::string read_regular_file(const std::filesystem::path& path, std::uint64_t most_bytes, const std::string& remedy) {
  const auto fail = [&](const std::string& what) { throw BundleError(path.string() + " " + what + "; " + remedy); };
  const auto fail_to_read = [&] {
    fail("cannot be read (" + std::generic_category().message(errno) + "); check its permissions");
  };
  struct stat found{};
  const auto check = [&] {
    if (!S_ISREG(found.st_mode)) fail(std::string("is ") + kind_of(found.st_mode) + "; expected a regular file");
    const auto bytes = static_cast<std::uint64_t>(found.st_size);
    if (bytes > most_bytes) {
      fail("has " + std::to_string(bytes) + " bytes; expected at most " + std::to_string(most_bytes));
    }
  };
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) fail("is missing; expected a regular file");
    fail_to_read();
  }
  check();
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0 || ::fstat(file.get(), &found) != 0) fail_to_read();
  check();  // again: another file may have taken its place

  std::string text(static_cast<std::size_t>(found.st_size), '\0');
  std::size_t held = 0;
  for (;;) {
    if (held == text.size()) text.resize(held + 4096);  // more than it had: to find its end, or that it has grown
    const ssize_t got = ::pread(file.get(), text.data() + held, text.size() - held, static_cast<off_t>(held));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_to_read();
    if (got == 0) break;
    held += static_cast<std::size_t>(got);
    if (held > most_bytes) fail("has grown beyond " + std::to_string(most_bytes) + " bytes");
  }
  text.resize(held);
  return text;
}

}  // namespace navit_edge
