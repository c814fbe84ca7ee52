// Opens a bundle and prints the engine that it runs on, and the version.
#include <navit_edge/session.h>
#include <navit_edge/version.h>

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  if (argc != 2) return std::printf("%s\n", navit_edge::version()) > 0 ? 0 : 1;
  try {
    const navit_edge::Session session(argv[1]);
    std::printf("%s %s\n", navit_edge::version(), session.engine().id.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
