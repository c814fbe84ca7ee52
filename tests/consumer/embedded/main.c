/* The same in C. */
#include <navit_edge/navit_edge_c.h>
#include <navit_edge/version.h>
#include <stdio.h>

int main(int argc, char** argv) {
  navit_edge_c_error error = {0, ""};
  navit_edge_c_session* session = NULL;
  int32_t code;
  (void)argc;
  code = navit_edge_c_open(argv[1], NULL, &session, &error);
  if (code != NAVIT_EDGE_C_OK) fprintf(stderr, "%s\n", error.message);
  navit_edge_c_close(session);
  printf("%s\n", NAVIT_EDGE_VERSION);
  return code;
}
