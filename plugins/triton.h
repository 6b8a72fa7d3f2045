/*
 * The host that has loaded the plug-in: a tritonserver, a program that opened libtritonserver for itself, or hippocamp.
 * The plug-in is not linked to the host's functions but looks them up at the start, so that one file loads in all
 * hosts.
 */
#ifndef HIPPOCAMP_PLUGINS_TRITON_H
#define HIPPOCAMP_PLUGINS_TRITON_H

#include "base/log.h"
#include "base/status.h"
#include "include/hippocamp/tritoncache.h"

/* Functions that a host must have, then functions that it may lack: then no metrics are reported. */
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

/* triton_find fills it while no cache is open; all threads of open caches read it. */
extern struct triton triton;

/*
 * Looks up the host's functions. `caller` is an address in the code that called us, __builtin_return_address(0).
 * Returns NULL, or the name of a required function that is missing; it may be TRITONSERVER_ErrorNew, so the caller must
 * not make an error then. Each call needs its triton_leave, after a failure or when its cache is closed.
 */
const char *triton_find(const void *caller);
void triton_leave(void);

/* Checks that the host's version of the interface is one that this code was written for. */
enum status triton_check_version(struct error *error);

void triton_log(enum log_level level, const char *text);

/* Makes an error of the host; NULL for STATUS_OK. */
TRITONSERVER_Error *triton_error(const struct error *error);

/* Deletes the error that a function of the host returned. Was there none? */
bool triton_succeeded(TRITONSERVER_Error *error);

#endif
