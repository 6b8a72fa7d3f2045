/*
 * The host that has loaded us: a tritonserver, a program that opened libtritonserver for itself, or hippocamp. Nothing
 * of it is imported by the linker, so that one file loads in all of them; its functions are looked up at the start.
 */
#ifndef HIPPOCAMP_PLUGINS_TRITON_H
#define HIPPOCAMP_PLUGINS_TRITON_H

#include "base/log.h"
#include "base/status.h"
#include "include/hippocamp/tritoncache.h"

/* What there must be, then what there may be: without it figures are not told. */
#define TRITON_REQUIRED(X)                                                                                             \
	X(TRITONCACHE_ApiVersion)                                                                                      \
	X(TRITONCACHE_CacheEntryBufferCount)                                                                           \
	X(TRITONCACHE_CacheEntryAddBuffer)                                                                             \
	X(TRITONCACHE_CacheEntryGetBuffer)                                                                             \
	X(TRITONCACHE_CacheEntrySetBuffer)                                                                             \
	X(TRITONCACHE_Copy)                                                                                            \
	X(TRITONSERVER_BufferAttributesNew)                                                                            \
	X(TRITONSERVER_BufferAttributesDelete)                                                                         \
	X(TRITONSERVER_BufferAttributesSetByteSize)                                                                    \
	X(TRITONSERVER_BufferAttributesSetMemoryType)                                                                  \
	X(TRITONSERVER_BufferAttributesSetMemoryTypeId)                                                                \
	X(TRITONSERVER_BufferAttributesByteSize)                                                                       \
	X(TRITONSERVER_ErrorNew)                                                                                       \
	X(TRITONSERVER_ErrorDelete)                                                                                    \
	X(TRITONSERVER_ErrorMessage)                                                                                   \
	X(TRITONSERVER_LogMessage)
#define TRITON_OPTIONAL(X)                                                                                             \
	X(TRITONSERVER_MetricFamilyNew)                                                                                \
	X(TRITONSERVER_MetricFamilyDelete)                                                                             \
	X(TRITONSERVER_MetricNew)                                                                                      \
	X(TRITONSERVER_MetricDelete)                                                                                   \
	X(TRITONSERVER_MetricIncrement)                                                                                \
	X(TRITONSERVER_MetricSet)                                                                                      \
	X(TRITONSERVER_ParameterNew)                                                                                   \
	X(TRITONSERVER_ParameterDelete)

struct triton {
#define TRITON_MEMBER(name) __typeof__(name) *name;
	TRITON_REQUIRED(TRITON_MEMBER)
	TRITON_OPTIONAL(TRITON_MEMBER)
#undef TRITON_MEMBER
	bool has_metrics;
};

/* Filled by triton_find while no cache is open; read by all threads of those that are. */
extern struct triton triton;

/*
 * `caller` is an address in the code that called us, __builtin_return_address(0). NULL, or the name of what is missing;
 * TRITONSERVER_ErrorNew may be what is, so the caller looks before it makes an error. Each call has its triton_leave,
 * when the cache that it was made for is gone.
 */
const char *triton_find(const void *caller);
void triton_leave(void);

/* The host's version of the interface is one that this code was written for. */
enum status triton_check_version(struct error *error);

void triton_log(enum log_level level, const char *text);

/* NULL for STATUS_OK. */
TRITONSERVER_Error *triton_error(const struct error *error);

/* Deletes what a function of the host returned. Was it a success? */
bool triton_succeeded(TRITONSERVER_Error *error);

#endif
