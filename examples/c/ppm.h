/* Reads binary PPM images (P6, 8 bits a channel): `convert photo.jpg photo.ppm`. */
#ifndef NAVIT_EDGE_EXAMPLE_PPM_H
#define NAVIT_EDGE_EXAMPLE_PPM_H

#include <navit_edge/navit_edge_c.h>

/* Fills `image` with pixels of malloc, which the caller frees: free((void*)image->data). 0, or -1 with a line on
 * standard error. */
int read_ppm(const char* path, navit_edge_c_image* image);

#endif
