/* navit_edge_c.h as C99 sees it: a whole caller, which c_api_test.cc runs. Compiled with -std=c99 -pedantic -Werror. */
#include <string.h>

#include "c_api/c_caller.h"
#include "navit_edge/navit_edge_c.h"

/* Adds up what the results hold; counts those that failed. */
static int32_t add_up(const navit_edge_c_results* results, c_caller_sums* sums) {
  size_t i;
  for (i = 0; i < navit_edge_c_count(results); ++i) {
    navit_edge_c_result one = {.struct_size = sizeof(one)};
    const int32_t code = navit_edge_c_get(results, i, &one, NULL);
    int64_t k;
    if (code != NAVIT_EDGE_C_OK) return code;
    if (one.code != NAVIT_EDGE_C_OK) {
      ++sums->failed;
      continue;
    }
    ++sums->done;
    sums->tokens += one.tokens;
    for (k = 0; k < one.logits.rows * one.logits.cols; ++k) sums->logits += (double)one.logits.data[k];
  }
  return NAVIT_EDGE_C_OK;
}

static void take(void* user, navit_edge_c_results* results) {
  add_up(results, (c_caller_sums*)user);
  navit_edge_c_free_results(results);
}

static void count_release(void* owner) { ++*(int32_t*)owner; }

int32_t c_caller(const char* bundle, const char* backend_dirs, const c_caller_picture* pictures, size_t count,
                 c_caller_sums* of_run, c_caller_sums* of_submit, int32_t* released, char* message, size_t capacity) {
  navit_edge_c_error error = {0, ""};
  navit_edge_c_options options = {.struct_size = sizeof(options)};
  navit_edge_c_session* session = NULL;
  navit_edge_c_results* results = NULL;
  navit_edge_c_image images[16];
  int32_t code;
  size_t i;

  memset(images, 0, sizeof(images));
  options.backend_dirs = backend_dirs;
  options.threads = 2;
  code = navit_edge_c_open(bundle, &options, &session, &error);
  for (i = 0; code == NAVIT_EDGE_C_OK && i < count; ++i) {
    images[i].struct_size = sizeof(images[i]);
    images[i].data = pictures[i].rgb;
    images[i].height_px = pictures[i].height_px;
    images[i].width_px = pictures[i].width_px;
  }
  if (code == NAVIT_EDGE_C_OK) code = navit_edge_c_run(session, images, count, NULL, &results, &error);
  if (code == NAVIT_EDGE_C_OK) code = add_up(results, of_run);
  navit_edge_c_free_results(results);
  for (i = 0; code == NAVIT_EDGE_C_OK && i < count; ++i) {
    code = navit_edge_c_submit(session, &images[i], count_release, released, NULL, take, of_submit, NULL, &error);
  }
  if (code == NAVIT_EDGE_C_OK) code = navit_edge_c_drain(session, &error);
  navit_edge_c_close(session);
  strncpy(message, error.message, capacity - 1);
  message[capacity - 1] = '\0';
  return code;
}
