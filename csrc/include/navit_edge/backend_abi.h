/* The plug: what a backend library exports. C, so that a Jetson may build its plug-in with another compiler than the
 * wheel's. Nothing throws across. Authors of backends use backend_sdk.h, which turns exceptions into codes. */
#ifndef NAVIT_EDGE_BACKEND_ABI_H
#define NAVIT_EDGE_BACKEND_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NAVIT_EDGE_BACKEND_ABI_VERSION 3u
#define NAVIT_EDGE_ERROR_CHARS 1024

/* Caller-owned. `code` is a value of navit_edge::ErrorCode, 0 for success. */
typedef struct navit_edge_error {
  int32_t code;
  char message[NAVIT_EDGE_ERROR_CHARS];
} navit_edge_error;

/* Borrowed for the call. Rows are contiguous. `dtype` is a value of navit_edge::DType. */
typedef struct navit_edge_tensor {
  const char* name;
  int32_t dtype;
  int32_t rank;
  const int64_t* shape; /* [rank] */
  void* data;
} navit_edge_tensor;

typedef struct navit_edge_option {
  const char* key;
  const char* value;
} navit_edge_option;

/* The content of an engine's file, page-aligned, in memory of its own: exactly what was hashed, whatever becomes of the
 * file. Borrowed for the call of `open`. A backend that needs it for longer takes it: it copies this struct, sets
 * `release` of the original to NULL, and calls `release` of its copy when it is done, from any thread. */
typedef struct navit_edge_bytes {
  const void* data;
  size_t size;
  void* owner; /* for `release` */
  void (*release)(struct navit_edge_bytes* bytes);
} navit_edge_bytes;

typedef struct navit_edge_engine_desc {
  navit_edge_bytes* content;        /* what `open` opens; NULL in `probe` */
  const char* file;                 /* where it was read, for messages: not to be opened again */
  const char* precision;            /* "fp32" | "fp16" | "bf16" */
  int32_t slots;                    /* runs that may be in flight at once, one thread each; at least 1 */
  int32_t threads;                  /* CPU threads for all slots together; 0: all cores the process may use */
  const navit_edge_option* options; /* the manifest's, and the caller's after them */
  size_t option_count;
} navit_edge_engine_desc;

typedef struct navit_edge_probe {
  char library_version[64]; /* of the vendor's library, as loaded */
  char device[128];         /* what would run the engine, in words */
} navit_edge_probe;

typedef struct navit_edge_engine navit_edge_engine; /* opaque */

/* All functions return 0 or the code that `error` holds. `run` and `memory` may be called from several threads at once
 * with different slots, and `query` beside them; every other function needs the engine to itself. */
typedef struct navit_edge_backend_table {
  uint32_t abi_version;
  const char* name;
  /* Can this machine run an engine of `precision` with these builder versions? Loads the vendor's library. */
  int32_t (*probe)(const navit_edge_engine_desc* desc, const navit_edge_option* builder, size_t builder_count,
                   navit_edge_probe* out, navit_edge_error* error);
  int32_t (*open)(const navit_edge_engine_desc* desc, navit_edge_engine** out, navit_edge_error* error);
  /* Reads inputs and writes outputs in place; shapes are the caller's and must match the graph's. Blocks. */
  int32_t (*run)(navit_edge_engine* engine, int32_t slot, const navit_edge_tensor* inputs, size_t input_count,
                 const navit_edge_tensor* outputs, size_t output_count, navit_edge_error* error);
  void (*close)(navit_edge_engine* engine);
  /* What the engine says of itself: a text for `key`. Every backend knows "report", a JSON object: see
   * docs/tensorrt-backend.md. Writes at most `capacity` bytes, the last of them a zero, and to `needed` how many the
   * whole text takes with its zero: if that is more, the text was cut off. `buffer` may be NULL if `capacity`
   * is 0. */
  int32_t (*query)(navit_edge_engine* engine, const char* key, char* buffer, size_t capacity, size_t* needed,
                   navit_edge_error* error);
  /* Memory of the slot where the caller may write input `name`, `bytes` long: `run` recognizes the address and copies
   * nothing on the host. 64-byte aligned, the same address at every call, the engine's until `close`; `run` may still
   * be given any other memory. To `data` goes NULL if the engine has none, or less: that is no error. Not to be
   * written to while a run of this slot is under way. */
  int32_t (*memory)(navit_edge_engine* engine, int32_t slot, const char* name, size_t bytes, void** data,
                    navit_edge_error* error);
} navit_edge_backend_table;

/* The one exported symbol. NULL if the backend does not speak `abi_version`. */
typedef const navit_edge_backend_table* (*navit_edge_backend_fn)(uint32_t abi_version);
#define NAVIT_EDGE_BACKEND_SYMBOL "navit_edge_backend"

#ifdef __cplusplus
}
#endif
#endif
