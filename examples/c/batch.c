/* Runs images of any size at once: batch NAME.navit IMAGE.ppm... */
#include <stdio.h>
#include <stdlib.h>

#include "ppm.h"

static void print(const char* path, const navit_edge_c_result* result) {
  int64_t top = 0, k;
  if (result->code != NAVIT_EDGE_C_OK) { /* this image's own error */
    printf("%s\terror %d: %s\n", path, (int)result->code, result->message);
    return;
  }
  for (k = 1; k < result->logits.cols; ++k) {
    if (result->logits.data[k] > result->logits.data[top]) top = k;
  }
  printf("%s\t%dx%d px\tgrid %dx%d\t%d tokens\tpack %d", path, (int)result->height_px, (int)result->width_px,
         (int)result->grid_rows, (int)result->grid_cols, (int)result->tokens, (int)result->pack);
  if (result->logits.data != NULL) printf("\tclass %ld\tlogit %.6f", (long)top, (double)result->logits.data[top]);
  printf("\n");
}

int main(int argc, char** argv) {
  navit_edge_c_error error;
  navit_edge_c_options options = {.struct_size = sizeof(options)}; /* all else: the defaults */
  navit_edge_c_session* session = NULL;
  navit_edge_c_results* results = NULL;
  navit_edge_c_image* images = NULL;
  size_t count = 0, i;
  int status = 1;

  if (argc < 3) return fprintf(stderr, "usage: batch NAME.navit IMAGE.ppm...\n"), 2;
  if (navit_edge_c_abi_version() != NAVIT_EDGE_C_ABI_VERSION) {
    return fprintf(stderr, "libnavit_edge.so speaks version %u of the C interface; this was built for %u\n",
                   (unsigned)navit_edge_c_abi_version(), (unsigned)NAVIT_EDGE_C_ABI_VERSION),
           1;
  }
  images = calloc((size_t)argc, sizeof(*images));
  if (images == NULL) return 1;
  for (; (int)count < argc - 2; ++count) {
    if (read_ppm(argv[count + 2], &images[count]) != 0) goto end;
  }
  if (navit_edge_c_open(argv[1], &options, &session, &error) != NAVIT_EDGE_C_OK ||
      navit_edge_c_run(session, images, count, NULL, &results, &error) != NAVIT_EDGE_C_OK) {
    fprintf(stderr, "%s\n", error.message);
    goto end;
  }
  status = 0;
  for (i = 0; i < navit_edge_c_count(results); ++i) { /* one an image, in input order */
    navit_edge_c_result result = {.struct_size = sizeof(result)};
    if (navit_edge_c_get(results, i, &result, NULL) != NAVIT_EDGE_C_OK) continue;
    print(argv[i + 2], &result);
    if (result.code != NAVIT_EDGE_C_OK) status = 1;
  }
end:
  navit_edge_c_free_results(results);
  navit_edge_c_close(session);
  for (i = 0; i < count; ++i) free((void*)images[i].data);
  free(images);
  return status;
}
