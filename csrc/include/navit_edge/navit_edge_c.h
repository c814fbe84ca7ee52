/* The C interface of a session: small, for bindings of other languages and for C (docs/embedding.md). C99.
 *
 * ABI. Symbols and types of this header stay as they are within one NAVIT_EDGE_C_ABI_VERSION; what is added is added at
 * the end of a struct or as a new function. Every struct begins with `struct_size`: the caller's sizeof. Fields beyond
 * it are taken as zero, and zero, or NULL, always means the default: {.struct_size = sizeof(options)} is whole.
 *
 * Errors. A function that can fail returns a code, NAVIT_EDGE_C_OK for success, and fills the caller's `error`, which
 * may be NULL. Nothing throws across. Where a function fails, its outputs are NULL or 0.
 *
 * Threads. Every function of a session may be called from any thread, beside others; only navit_edge_c_close must be
 * the last. A results handle belongs to one thread at a time. Text is UTF-8 and ends with a zero. */
#ifndef NAVIT_EDGE_NAVIT_EDGE_C_H
#define NAVIT_EDGE_NAVIT_EDGE_C_H

#include <stddef.h>
#include <stdint.h>

#include "navit_edge/export.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NAVIT_EDGE_C_ABI_VERSION 1u
#define NAVIT_EDGE_C_ERROR_CHARS 1024

/* Values of a code, also of an image's own. */
enum {
  NAVIT_EDGE_C_OK = 0,
  NAVIT_EDGE_C_INVALID_INPUT = 1, /* an argument or an image that the caller can mend */
  NAVIT_EDGE_C_OVER_BUDGET = 2,   /* an image that fits no token budget of the engine */
  NAVIT_EDGE_C_BUNDLE = 3,        /* a bundle that is missing, altered or of another schema */
  NAVIT_EDGE_C_BACKEND = 4,       /* a backend, an engine or a run that failed */
  NAVIT_EDGE_C_CANCELLED = 5      /* taken back, or the session was closed */
};

/* Values of navit_edge_c_image.format. 'X' is a byte that is not looked at. */
enum {
  NAVIT_EDGE_C_BY_CHANNELS = 0, /* 1 channel: gray, 3: RGB, 4: RGBA */
  NAVIT_EDGE_C_GRAY = 1,
  NAVIT_EDGE_C_RGB = 2,
  NAVIT_EDGE_C_BGR = 3,
  NAVIT_EDGE_C_RGBX = 4,
  NAVIT_EDGE_C_BGRX = 5,
  NAVIT_EDGE_C_RGBA = 6, /* alpha not premultiplied */
  NAVIT_EDGE_C_BGRA = 7,
  NAVIT_EDGE_C_NV12 = 8, /* `data` is Y, planes[0] holds U and V in turn */
  NAVIT_EDGE_C_I420 = 9  /* `data` is Y, planes[0] is U, planes[1] is V */
};

/* Values of navit_edge_c_image.matrix and .range, for NV12 and I420. */
enum { NAVIT_EDGE_C_BT601 = 0, NAVIT_EDGE_C_BT709 = 1 };
enum { NAVIT_EDGE_C_LIMITED = 0, NAVIT_EDGE_C_FULL = 1 };

/* The caller's. `code` is what the function returned. */
typedef struct navit_edge_c_error {
  int32_t code;
  char message[NAVIT_EDGE_C_ERROR_CHARS]; /* what was found, what was expected, what to do; cut off if longer */
} navit_edge_c_error;

typedef struct navit_edge_c_session navit_edge_c_session; /* an opened bundle */
typedef struct navit_edge_c_results navit_edge_c_results; /* results and the memory they lie in */

typedef struct navit_edge_c_option {
  const char* key;
  const char* value;
} navit_edge_c_option;

/* How a session opens; session.h says what each value does. All text is read before the call returns. */
typedef struct navit_edge_c_options {
  uint32_t struct_size;
  int32_t threads;              /* 0: all cores that the process can keep busy */
  int32_t slots;                /* packs in flight at once; 0: as many as pay */
  int32_t max_tokens_per_image; /* 0: as the bundle says */
  const char* device;           /* "auto" | "cpu" | "gpu" | "npu" */
  const char* engine;           /* id of an engine or a group; NULL: the first that can run on `device` */
  const char* precision;        /* "auto" | "fp32" | "fp16" | "bf16" | "int8" | "fp8" */
  const char* strategy;         /* "auto", or another name of plan.h */
  const char* overflow;         /* "error" | "downscale" */
  const char* policy; /* tokens of images that name no policy: "native", "latency:20ms", "drop:blank" (policy.h) */
  const char* backend_dirs;           /* searched for backend libraries first, parted by ':' */
  const char* vendor_dirs;            /* of the vendor's libraries, parted by ':' */
  const navit_edge_c_option* backend; /* options for the backend */
  size_t backend_count;
  uint64_t queue_limit;      /* submitted images of the lowest priority that may wait at once; 0: 1024 */
  double batch_wait_us;      /* how long an idle engine waits for company for an image */
  double stall_timeout_s;    /* a pack held for longer is given up, and the session; 0: 60; below 0: never */
  uint64_t queue_bytes;      /* of their pixels that may wait, in the same way; 0: 1 GiB; UINT64_MAX: no limit */
  double aging_us;           /* what waits for longer gets every fourth pack; 0: 1e6; below 0: at once */
  uint64_t cache_bytes;      /* that remembered results may take; 0: none are remembered */
  const char* devices;       /* several of a kind, parted by ';': "0;1", "cpu:0-3;cpu:4-7"; NULL: one */
  uint64_t max_memory_bytes; /* that the process stays under; 0: no limit */
  int32_t decoders;          /* that decode submitted files; 0: as many as keep the engine busy */
  int32_t reserved;          /* 0 */
  uint64_t decode_bytes;     /* of pixels that they hold; 0: 256 MiB; UINT64_MAX: no limit */
  const char* decode;        /* "exact" | "scaled"; NULL: as the bundle says */
} navit_edge_c_options;

/* Pixels of one 8-bit image, (row, column, channel) order. In an array, images lie images[0].struct_size apart. */
typedef struct navit_edge_c_image {
  uint32_t struct_size;
  int32_t height_px;
  int32_t width_px;
  int32_t channels; /* bytes from one pixel of `data` to the next: 1, 3 or 4; 0: as many as `format` has, else 3 */
  int32_t format;
  int32_t matrix;
  int32_t range;
  int32_t reserved; /* 0 */
  const uint8_t* data;
  int64_t row_stride_bytes; /* 0: rows are adjacent; may be negative */
  const uint8_t* planes[2]; /* NV12 and I420 only */
  int64_t plane_stride_bytes[2];
} navit_edge_c_image;

/* A JPEG or PNG file, by its first bytes; of several pictures the first. Either `path` or `data`. */
typedef struct navit_edge_c_file {
  uint32_t struct_size;
  int32_t reserved;    /* 0 */
  const char* path;    /* of a regular file, which is read when its turn comes; NULL: */
  const uint8_t* data; /* its bytes */
  uint64_t size;       /* of `data` */
} navit_edge_c_file;

/* float32 [rows, cols], row-major. Borrowed from its results. `data` is NULL if the bundle does not offer it. */
typedef struct navit_edge_c_view {
  const float* data;
  int64_t rows;
  int64_t cols;
} navit_edge_c_view;

/* The result of one image. All that it points to lives until its results are freed. */
typedef struct navit_edge_c_result {
  uint32_t struct_size;
  int32_t code;        /* the image's own; with another than NAVIT_EDGE_C_OK the views are empty */
  const char* message; /* of the error; "" without one */
  const char* reason;  /* why it has fewer tokens than its size gives; "" if it has not */
  uint64_t id;         /* what navit_edge_c_submit gave; 0 in a run */
  uint64_t tag;        /* the caller's */
  int32_t height_px;   /* of the image, as given */
  int32_t width_px;
  int32_t grid_rows; /* as run: grid * P pixels, P being patch_px of navit_edge_c_describe */
  int32_t grid_cols;
  int32_t tokens; /* prefix tokens included */
  int32_t pack;   /* which pass it was part of; -1: none */
  double scale_y; /* the image's point (y, x) lies at (y * scale_y + top_px, x * scale_x + left_px) there */
  double scale_x;
  double top_px;
  double left_px;
  double queue_us;             /* until its pack began */
  double latency_us;           /* of its pack, from preprocessing to outputs */
  navit_edge_c_view logits;    /* [1, classes] */
  navit_edge_c_view embedding; /* [1, D] */
  navit_edge_c_view features;  /* [grid_rows * grid_cols, D], one of each patch token; fewer rows if it merges them */
  navit_edge_c_view projected; /* [tokens of the language model, D] */
  navit_edge_c_view deepstack; /* [tokens of the language model, deepstack_layers * D] */
  int64_t deepstack_layers;    /* 0: there is no deepstack */
  int32_t cached;              /* 1: computed for another image of the same pixels; it was in no pack */
  int32_t total_tokens;        /* of all passes: more than `tokens` if a cascade ran the image twice */
  const int32_t* kept;         /* the patches that the model saw, by their numbers on the grid; NULL: all of them */
  int64_t kept_count;          /* of `kept`: row i of `features` is of patch kept[i]; 0 with NULL */
  navit_edge_c_view attention_map; /* [patches that the model saw, maps]: how much attention looks at each */
} navit_edge_c_result;

/* Images done, failed ones among them, of all. Called on the thread that called navit_edge_c_run. */
typedef void (*navit_edge_c_progress)(void* user, uint64_t done, uint64_t total);

typedef struct navit_edge_c_run_options {
  uint32_t struct_size;
  const char* policy; /* NULL: the session's */
  navit_edge_c_progress progress;
  void* user;
  double spent_us; /* what the user has waited before the call, for decoding, say: a latency target counts it */
  const uint8_t* keep_mask; /* [mask_rows * mask_cols] of all images, which get a grid of that: 0: the patch is left
                               out. NULL: what `policy` says */
  int32_t mask_rows;
  int32_t mask_cols;
} navit_edge_c_run_options;

/* The pixels have been read, or never will be. From any thread, perhaps before navit_edge_c_submit returns. It must not
 * call this session, nor wait for a thread that does. */
typedef void (*navit_edge_c_release)(void* owner);

/* Takes the result of one submitted image, and owns `results`, which hold that one. Called exactly once for each
 * image taken, from one thread of the session, one call after the other. It should not block; it may submit, run,
 * cancel and stop, but neither drain nor close. */
typedef void (*navit_edge_c_done)(void* user, navit_edge_c_results* results);

typedef struct navit_edge_c_submit_options {
  uint32_t struct_size;
  int32_t priority;         /* higher leaves first, and has places in the queue that lower ones cannot fill */
  double deadline_us;       /* from the call to the result; 0: none */
  uint64_t tag;             /* handed back in the result */
  const char* policy;       /* NULL: the session's */
  int32_t no_wait;          /* not 0: if the queue is full for wait_us, nothing is taken and the id is 0 */
  double wait_us;           /* 0 and up; 0: not at all. Only with no_wait */
  double spent_us;          /* as that of navit_edge_c_run_options */
  const uint8_t* keep_mask; /* the same; read before the call returns */
  int32_t mask_rows;
  int32_t mask_cols;
} navit_edge_c_submit_options;

/* How values of patches are brought onto the image. */
typedef struct navit_edge_c_map_options {
  uint32_t struct_size;
  int32_t nearest;   /* 0: bilinear between the centres of cells; else each pixel has its own cell's value */
  int32_t height_px; /* of the picture; 0, like width_px: that of the image */
  int32_t width_px;
  int32_t filled; /* 0: NaN where there is no data; else `fill` */
  float fill;
} navit_edge_c_map_options;

/* NAVIT_EDGE_C_ABI_VERSION of the library that was loaded. Another than the header's: do not go on. */
NAVIT_EDGE_API uint32_t navit_edge_c_abi_version(void);
NAVIT_EDGE_API const char* navit_edge_c_version(void); /* "0.1.0"; static */

/* Opens a bundle, a directory NAME.navit. `options` may be NULL. */
NAVIT_EDGE_API int32_t navit_edge_c_open(const char* bundle, const navit_edge_c_options* options,
                                         navit_edge_c_session** session, navit_edge_c_error* error);
/* Takes no more images: packs in flight finish, waiting images get NAVIT_EDGE_C_CANCELLED, and all are called back
 * before it returns. May be called again. */
NAVIT_EDGE_API void navit_edge_c_stop(navit_edge_c_session* session);
/* Stops, and frees the session. No other call may be under way or follow, this is none for callbacks. Results stay.
 * NULL is left alone. */
NAVIT_EDGE_API void navit_edge_c_close(navit_edge_c_session* session);

/* Runs `count` images and returns when all are done: one result an image, in input order. Borrows the pixels for so
 * long. A bad image fails alone. `options` may be NULL. The caller frees `results`. */
NAVIT_EDGE_API int32_t navit_edge_c_run(navit_edge_c_session* session, const navit_edge_c_image* images, size_t count,
                                        const navit_edge_c_run_options* options, navit_edge_c_results** results,
                                        navit_edge_c_error* error);

/* Takes one image, to be run with those that others submit. Waits while the queue is full, unless `options` says
 * otherwise. Where it returns 0 and an `id` above 0 the image is taken: `done` will be called once, and `release`
 * (which may be NULL) once with `owner`. In every other case neither is called, and the pixels stay the caller's.
 * `options` and `id` may be NULL, except that `no_wait` needs `id`. */
NAVIT_EDGE_API int32_t navit_edge_c_submit(navit_edge_c_session* session, const navit_edge_c_image* image,
                                           navit_edge_c_release release, void* owner,
                                           const navit_edge_c_submit_options* options, navit_edge_c_done done,
                                           void* user, uint64_t* id, navit_edge_c_error* error);
/* The same of an image file, which threads of the session decode; the call returns at once if there is a place. What is
 * wrong with the file is its result's error. `release` is called once `data` is not needed any more; of a path at the
 * same time. JPEG and PNG: decode other formats yourself, and submit the pixels. */
NAVIT_EDGE_API int32_t navit_edge_c_submit_file(navit_edge_c_session* session, const navit_edge_c_file* file,
                                                navit_edge_c_release release, void* owner,
                                                const navit_edge_c_submit_options* options, navit_edge_c_done done,
                                                void* user, uint64_t* id, navit_edge_c_error* error);
/* Opens libjpeg-turbo, once for all of the process: `library`, or NULL for the system's libjpeg.so.62, which the first
 * file opens anyway. Fails, with what to do, if there is none whose binary interface is that of libjpeg 6.2. */
NAVIT_EDGE_API int32_t navit_edge_c_open_jpeg(const char* library, navit_edge_c_error* error);
/* The same of libpng: `library`, or else the system's libpng16.so.16. Fails if neither is libpng 1.6. */
NAVIT_EDGE_API int32_t navit_edge_c_open_png(const char* library, navit_edge_c_error* error);
/* 1 where a waiting image was taken back: `done` gets it with NAVIT_EDGE_C_CANCELLED. 0 where it is unknown, in a pack
 * already, or done. */
NAVIT_EDGE_API int32_t navit_edge_c_cancel(navit_edge_c_session* session, uint64_t id);
/* Waits until everything submitted so far has been called back. In a callback it would wait forever, and fails. */
NAVIT_EDGE_API int32_t navit_edge_c_drain(navit_edge_c_session* session, navit_edge_c_error* error);
/* The same for `timeout_us` at most, 0 and up. `drained` becomes 1, or 0 if that was too short. */
NAVIT_EDGE_API int32_t navit_edge_c_drain_for(navit_edge_c_session* session, double timeout_us, int32_t* drained,
                                              navit_edge_c_error* error);
/* 0, or NAVIT_EDGE_C_BACKEND with the first cause: three packs in a row failed, or one stalled. Close it, open another.
 */
NAVIT_EDGE_API int32_t navit_edge_c_broken(navit_edge_c_session* session, navit_edge_c_error* error);

NAVIT_EDGE_API size_t navit_edge_c_count(const navit_edge_c_results* results); /* 0 for NULL */
/* Fills `result`, whose struct_size the caller has set. */
NAVIT_EDGE_API int32_t navit_edge_c_get(const navit_edge_c_results* results, size_t index, navit_edge_c_result* result,
                                        navit_edge_c_error* error);
/* Values of patches as pixels of the image, whatever the sizing rule did to it (docs/maps.md): values [rows, cols], a
 * row for each patch that the model saw, as `attention_map` and `features` have them -> picture [height_px, width_px,
 * cols], of which `capacity` says how many floats fit. There is no data where the image was cropped and where a patch
 * was dropped. `options` may be NULL. */
NAVIT_EDGE_API int32_t navit_edge_c_on_image(const navit_edge_c_results* results, size_t index, const float* values,
                                             int64_t rows, int64_t cols, const navit_edge_c_map_options* options,
                                             float* picture, size_t capacity, navit_edge_c_error* error);
NAVIT_EDGE_API void navit_edge_c_free_results(navit_edge_c_results* results); /* NULL is left alone */

/* What is open, as a JSON object: version, bundle, engine, precision, device, slots, threads, model (family, width,
 * depth, prefix_tokens, patch_px), outputs (name: columns), budgets, labels, scores, candidates. The caller frees
 * `text`. */
NAVIT_EDGE_API int32_t navit_edge_c_describe(navit_edge_c_session* session, char** text, navit_edge_c_error* error);
/* What it has done, in Prometheus's text format (docs/metrics.md). The caller frees `text`. */
NAVIT_EDGE_API int32_t navit_edge_c_prometheus(navit_edge_c_session* session, char** text, navit_edge_c_error* error);
NAVIT_EDGE_API void navit_edge_c_free_text(char* text); /* NULL is left alone */

#ifdef __cplusplus
}
#endif
#endif
