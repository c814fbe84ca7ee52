#include "bundle/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

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

RegularFile::RegularFile(const std::filesystem::path& path, std::uint64_t most_bytes, const std::string& remedy)
    : path_(path.string()), most_bytes_(most_bytes), remedy_(remedy) {
  struct stat found{};
  if (::lstat(path_.c_str(), &found) != 0) {
    fail(errno == ENOENT ? "is missing; expected a regular file"
                         : "cannot be read (" + std::generic_category().message(errno) + "); check its permissions");
  }
  check(found.st_mode, static_cast<std::uint64_t>(found.st_size));
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (descriptor_ < 0 || ::fstat(descriptor_, &found) != 0) {
    const int why = errno;
    if (descriptor_ >= 0) ::close(descriptor_);
    fail("cannot be read (" + std::generic_category().message(why) + "); check its permissions");
  }
  try {  // again: another file may have taken its place
    check(found.st_mode, static_cast<std::uint64_t>(found.st_size));
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
  bytes_ = static_cast<std::uint64_t>(found.st_size);
}

RegularFile::RegularFile(RegularFile&& other) noexcept
    : path_(std::move(other.path_)),
      most_bytes_(other.most_bytes_),
      remedy_(std::move(other.remedy_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      bytes_(other.bytes_) {}

RegularFile::~RegularFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void RegularFile::check(std::uint32_t mode, std::uint64_t bytes) const {
  if (!S_ISREG(mode)) fail(std::string("is ") + kind_of(mode) + "; expected a regular file");
  if (bytes > most_bytes_) {
    fail("has " + std::to_string(bytes) + " bytes; expected at most " + std::to_string(most_bytes_));
  }
}

void RegularFile::fail(const std::string& what) const { throw BundleError(path_ + " " + what + "; " + remedy_); }

std::string RegularFile::read() const {
  std::string text;
  text.resize(static_cast<std::size_t>(bytes_));
  std::size_t held = 0;
  for (;;) {
    if (held == text.size()) text.resize(held + 4096);  // more than it had: to find its end, or that it has grown
    const ssize_t got = ::pread(descriptor_, text.data() + held, text.size() - held, static_cast<off_t>(held));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot be read (" + std::generic_category().message(errno) + "); check its permissions");
    if (got == 0) break;
    held += static_cast<std::size_t>(got);
    if (held > most_bytes_) fail("has grown beyond " + std::to_string(most_bytes_) + " bytes");
  }
  text.resize(held);
  return text;
}

}  // namespace navit_edge
