/* Gives images one by one, with a deadline each, and takes results as they come: submit NAME.navit MS IMAGE.ppm... */
#include <stdio.h>
#include <stdlib.h>

#include "ppm.h"

/* Of all images. Only the session's callbacks touch it until they have ended. */
typedef struct tally {
  char** paths;
  int done, failed;
} tally;

/* The session has read the pixels, or never will. */
static void release(void* pixels) { free(pixels); }

/* From a thread of the session: short. The results are ours. */
static void done(void* user, navit_edge_c_results* results) {
  tally* all = user;
  navit_edge_c_result result = {.struct_size = sizeof(result)};
  if (navit_edge_c_get(results, 0, &result, NULL) == NAVIT_EDGE_C_OK && result.code == NAVIT_EDGE_C_OK) {
    ++all->done;
    printf("%s\t%d tokens\tqueue %.1f ms\tpack %.1f ms\n", all->paths[result.tag], (int)result.tokens,
           result.queue_us / 1000, result.latency_us / 1000);
  } else {
    ++all->failed;
    printf("%s\terror %d: %s\n", all->paths[result.tag], (int)result.code, result.message);
  }
  navit_edge_c_free_results(results);
}

int main(int argc, char** argv) {
  navit_edge_c_error error;
  navit_edge_c_session* session = NULL;
  tally all = {NULL, 0, 0};
  int i, unread = 0;

  if (argc < 4) return fprintf(stderr, "usage: submit NAME.navit MS IMAGE.ppm...\n"), 2;
  all.paths = argv;
  if (navit_edge_c_open(argv[1], NULL, &session, &error) != NAVIT_EDGE_C_OK) {
    return fprintf(stderr, "%s\n", error.message), 1;
  }
  for (i = 3; i < argc; ++i) {
    navit_edge_c_submit_options options = {.struct_size = sizeof(options)};
    navit_edge_c_image image;
    if (read_ppm(argv[i], &image) != 0) {
      ++unread;
      continue;
    }
    options.deadline_us = 1000 * atof(argv[2]);
    options.tag = (uint64_t)i;
    if (navit_edge_c_submit(session, &image, release, (void*)image.data, &options, done, &all, NULL, &error) !=
        NAVIT_EDGE_C_OK) {
      fprintf(stderr, "%s\n", error.message);
      free((void*)image.data); /* it was not taken */
      break;
    }
  }
  navit_edge_c_drain(session, NULL); /* all have been called back; closing alone would cancel those that wait */
  navit_edge_c_close(session);
  printf("%d done, %d failed\n", all.done, all.failed + unread);
  return all.failed + unread == 0 && i == argc ? 0 : 1;
}
