#include "ppm.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next number of the header; '#' begins a comment. */
static long number(FILE* file) {
  int c = fgetc(file);
  long value = 0;
  while (isspace(c) || c == '#') {
    if (c == '#') {
      while (c != '\n' && c != EOF) c = fgetc(file);
    }
    c = fgetc(file);
  }
  if (!isdigit(c)) return -1;
  for (; isdigit(c) && value < 100000; c = fgetc(file)) value = value * 10 + (c - '0');
  return value;
}

int read_ppm(const char* path, navit_edge_c_image* image) {
  FILE* file = fopen(path, "rb");
  uint8_t* pixels = NULL;
  const char* problem = NULL;
  if (file == NULL) {
    fprintf(stderr, "%s: cannot be opened; expected a PPM image\n", path);
    return -1;
  }
  memset(image, 0, sizeof(*image));
  image->struct_size = sizeof(*image);
  if (fgetc(file) == 'P' && fgetc(file) == '6') {
    image->width_px = (int32_t)number(file);
    image->height_px = (int32_t)number(file);
    if (image->width_px < 1 || image->height_px < 1 || number(file) != 255) problem = "no binary PPM of 8 bits";
  } else {
    problem = "no binary PPM; convert it: convert photo.jpg photo.ppm";
  }
  if (problem == NULL) {
    const size_t bytes = (size_t)3 * (size_t)image->width_px * (size_t)image->height_px;
    pixels = malloc(bytes);
    if (pixels == NULL) {
      problem = "no memory for its pixels";
    } else if (fread(pixels, 1, bytes, file) != bytes) {
      problem = "ends before its last pixel; write it again";
    }
  }
  fclose(file);
  if (problem != NULL) {
    fprintf(stderr, "%s: %s\n", path, problem);
    free(pixels);
    return -1;
  }
  image->data = pixels;
  return 0;
}
