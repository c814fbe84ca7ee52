/* The caller in C of c_header_test.c, for c_api_test.cc. */
#ifndef NAVIT_EDGE_C_CALLER_H
#define NAVIT_EDGE_C_CALLER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct c_caller_picture {
  const uint8_t* rgb;
  int32_t height_px;
  int32_t width_px;
} c_caller_picture;

typedef struct c_caller_sums {
  int32_t done;
  int32_t failed;
  int64_t tokens;
  double logits;
} c_caller_sums;

/* Runs up to 16 pictures, then submits each; `released` counts pixels given back. The code of the first failure. */
int32_t c_caller(const char* bundle, const char* backend_dirs, const c_caller_picture* pictures, size_t count,
                 c_caller_sums* of_run, c_caller_sums* of_submit, int32_t* released, char* message, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
