// libjpeg-turbo's header, with the binary interface of libjpeg 6.2, which its own configuration would choose: Pillow's
// wheels and Debian have it. Ubuntu's package has that of libjpeg 8, and another configuration beside the same header.
#pragma once

#include <cstddef>
#include <cstdio>  // what the header uses and does not include

#define JCONFIG_INCLUDED
#define JPEG_LIB_VERSION 62
#define BITS_IN_JSAMPLE 8
#define HAVE_UNSIGNED_CHAR 1
#define HAVE_UNSIGNED_SHORT 1
#include <jpeglib.h>
