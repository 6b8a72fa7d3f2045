/*
 * The C interface between a Triton Inference Server and the plug-in that is its response cache, TRITONCACHE 0.1, as far
 * as a cache needs it: what a plug-in exports, and what its host gives it. Names, numbers and meanings are Triton's
 * (tritoncache.h and tritonserver.h of triton-inference-server/core); the declarations are our own, so that neither a
 * plug-in nor a host takes any file of Triton's. They hold for every release from 23.03 on.
 *
 * A plug-in is the file <cache-directory>/<name>/libtritoncache_<name>.so. Its host opens it with RTLD_NOW | RTLD_LOCAL
 * and looks up the four functions marked "exported"; the others are the host's.
 *
 * Errors: NULL is success. What a plug-in returns comes from TRITONSERVER_ErrorNew, and its host deletes it; what a
 * plug-in gets back from its host is the plug-in's to delete. No exception and no longjmp may cross.
 */
#ifndef HIPPOCAMP_TRITONCACHE_H
#define HIPPOCAMP_TRITONCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRITONCACHE_API_VERSION_MAJOR 0
#define TRITONCACHE_API_VERSION_MINOR 1

typedef struct TRITONCACHE_Cache TRITONCACHE_Cache;	      /* the plug-in's; its host only hands it back */
typedef struct TRITONCACHE_CacheEntry TRITONCACHE_CacheEntry; /* the host's, for the length of one call */
typedef struct TRITONCACHE_Allocator TRITONCACHE_Allocator;   /* the host's, for the length of one call */
typedef struct TRITONSERVER_Error TRITONSERVER_Error;
typedef struct TRITONSERVER_BufferAttributes TRITONSERVER_BufferAttributes;
typedef struct TRITONSERVER_MetricFamily TRITONSERVER_MetricFamily;
typedef struct TRITONSERVER_Metric TRITONSERVER_Metric;
typedef struct TRITONSERVER_Parameter TRITONSERVER_Parameter;

typedef enum TRITONSERVER_errorcode_enum {
	TRITONSERVER_ERROR_UNKNOWN,
	TRITONSERVER_ERROR_INTERNAL,
	TRITONSERVER_ERROR_NOT_FOUND,
	TRITONSERVER_ERROR_INVALID_ARG,
	TRITONSERVER_ERROR_UNAVAILABLE,
	TRITONSERVER_ERROR_UNSUPPORTED,
	TRITONSERVER_ERROR_ALREADY_EXISTS,
	TRITONSERVER_ERROR_CANCELLED
} TRITONSERVER_Error_Code;

typedef enum TRITONSERVER_memorytype_enum {
	TRITONSERVER_MEMORY_CPU,
	TRITONSERVER_MEMORY_CPU_PINNED,
	TRITONSERVER_MEMORY_GPU
} TRITONSERVER_MemoryType;

typedef enum TRITONSERVER_loglevel_enum {
	TRITONSERVER_LOG_INFO,
	TRITONSERVER_LOG_WARN,
	TRITONSERVER_LOG_ERROR,
	TRITONSERVER_LOG_VERBOSE
} TRITONSERVER_LogLevel;

typedef enum TRITONSERVER_metrickind_enum {
	TRITONSERVER_METRIC_KIND_COUNTER,
	TRITONSERVER_METRIC_KIND_GAUGE,
	TRITONSERVER_METRIC_KIND_HISTOGRAM
} TRITONSERVER_MetricKind;

typedef enum TRITONSERVER_parametertype_enum {
	TRITONSERVER_PARAMETER_STRING,
	TRITONSERVER_PARAMETER_INT,
	TRITONSERVER_PARAMETER_BOOL,
	TRITONSERVER_PARAMETER_BYTES,
	TRITONSERVER_PARAMETER_DOUBLE
} TRITONSERVER_ParameterType;

/* --- Exported by the plug-in --- */

/*
 * Once, on the thread that makes the server, before any model is loaded. `config` is one flat JSON object, {"key":
 * "value", …}, all values strings unless a program gave its own; it is valid during the call. *cache is NULL; what is
 * put there must not be. An error ends the server, and Finalize is then not called.
 */
TRITONSERVER_Error *TRITONCACHE_CacheInitialize(TRITONCACHE_Cache **cache, const char *config);

/* Once, alone, after all models are gone; the file is closed after it. Not called when the server is killed. */
TRITONSERVER_Error *TRITONCACHE_CacheFinalize(TRITONCACHE_Cache *cache);

/*
 * Any number at once, with each other and with inserts, on threads that serve requests. `entry` is fresh and without
 * buffers. A hit: TRITONCACHE_CacheEntryAddBuffer with the one buffer that was inserted, TRITONCACHE_Copy, NULL.
 * Anything else is a miss, whatever the error. It must be decided before TRITONCACHE_Copy: a copy that fails half way
 * leaves a half answer.
 */
TRITONSERVER_Error *TRITONCACHE_CacheLookup(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
					    TRITONCACHE_Allocator *allocator);

/*
 * Any number at once, on threads that run models, before the client gets its answer. `entry` has one buffer of a size
 * and without an address: TRITONCACHE_CacheEntryGetBuffer, memory for it, TRITONCACHE_CacheEntrySetBuffer with NULL
 * attributes, TRITONCACHE_Copy. The memory stays the plug-in's. `key` may be empty; such an entry cannot be found
 * again.
 */
TRITONSERVER_Error *TRITONCACHE_CacheInsert(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
					    TRITONCACHE_Allocator *allocator);

/* --- The host's --- */

TRITONSERVER_Error *TRITONCACHE_ApiVersion(uint32_t *major, uint32_t *minor);

TRITONSERVER_Error *TRITONCACHE_CacheEntryBufferCount(TRITONCACHE_CacheEntry *entry, size_t *count);

/* Keeps address and size, not the memory, which must live until TRITONCACHE_Copy returned. No GPU, no size of 0. */
TRITONSERVER_Error *TRITONCACHE_CacheEntryAddBuffer(TRITONCACHE_CacheEntry *entry, void *base,
						    TRITONSERVER_BufferAttributes *attributes);
TRITONSERVER_Error *TRITONCACHE_CacheEntryGetBuffer(TRITONCACHE_CacheEntry *entry, size_t index, void **base,
						    TRITONSERVER_BufferAttributes *attributes);

/* NULL attributes keep those that there are. */
TRITONSERVER_Error *TRITONCACHE_CacheEntrySetBuffer(TRITONCACHE_CacheEntry *entry, size_t index, void *base,
						    TRITONSERVER_BufferAttributes *attributes);

/* In a look-up from the entry's buffers to the response, in an insert the other way. In the call, on its thread. */
TRITONSERVER_Error *TRITONCACHE_Copy(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry);

/* New attributes are not initialised: all three are to be set. */
TRITONSERVER_Error *TRITONSERVER_BufferAttributesNew(TRITONSERVER_BufferAttributes **attributes);
TRITONSERVER_Error *TRITONSERVER_BufferAttributesDelete(TRITONSERVER_BufferAttributes *attributes);
TRITONSERVER_Error *TRITONSERVER_BufferAttributesSetByteSize(TRITONSERVER_BufferAttributes *attributes, size_t size);
TRITONSERVER_Error *TRITONSERVER_BufferAttributesSetMemoryType(TRITONSERVER_BufferAttributes *attributes,
							       TRITONSERVER_MemoryType type);
TRITONSERVER_Error *TRITONSERVER_BufferAttributesSetMemoryTypeId(TRITONSERVER_BufferAttributes *attributes, int64_t id);
TRITONSERVER_Error *TRITONSERVER_BufferAttributesByteSize(TRITONSERVER_BufferAttributes *attributes, size_t *size);
TRITONSERVER_Error *TRITONSERVER_BufferAttributesMemoryType(TRITONSERVER_BufferAttributes *attributes,
							    TRITONSERVER_MemoryType *type);
TRITONSERVER_Error *TRITONSERVER_BufferAttributesMemoryTypeId(TRITONSERVER_BufferAttributes *attributes, int64_t *id);

/* `message` is copied. */
TRITONSERVER_Error *TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char *message);
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error *error);
TRITONSERVER_Error_Code TRITONSERVER_ErrorCode(TRITONSERVER_Error *error);
const char *TRITONSERVER_ErrorCodeString(TRITONSERVER_Error *error);
const char *TRITONSERVER_ErrorMessage(TRITONSERVER_Error *error);

bool TRITONSERVER_LogIsEnabled(TRITONSERVER_LogLevel level);
TRITONSERVER_Error *TRITONSERVER_LogMessage(TRITONSERVER_LogLevel level, const char *file, int line,
					    const char *message);

/* A family stands on the metrics page under its own name. Its metrics are deleted before it is. */
TRITONSERVER_Error *TRITONSERVER_MetricFamilyNew(TRITONSERVER_MetricFamily **family, TRITONSERVER_MetricKind kind,
						 const char *name, const char *description);
TRITONSERVER_Error *TRITONSERVER_MetricFamilyDelete(TRITONSERVER_MetricFamily *family);
TRITONSERVER_Error *TRITONSERVER_MetricNew(TRITONSERVER_Metric **metric, TRITONSERVER_MetricFamily *family,
					   const TRITONSERVER_Parameter **labels, uint64_t label_count);
TRITONSERVER_Error *TRITONSERVER_MetricDelete(TRITONSERVER_Metric *metric);
TRITONSERVER_Error *TRITONSERVER_GetMetricKind(TRITONSERVER_Metric *metric, TRITONSERVER_MetricKind *kind);
TRITONSERVER_Error *TRITONSERVER_MetricValue(TRITONSERVER_Metric *metric, double *value);
TRITONSERVER_Error *TRITONSERVER_MetricIncrement(TRITONSERVER_Metric *metric, double value); /* counters: not below 0 */
TRITONSERVER_Error *TRITONSERVER_MetricSet(TRITONSERVER_Metric *metric, double value);	     /* gauges */

/* Labels are strings. Name and value are copied. */
TRITONSERVER_Parameter *TRITONSERVER_ParameterNew(const char *name, TRITONSERVER_ParameterType type, const void *value);
void TRITONSERVER_ParameterDelete(TRITONSERVER_Parameter *parameter);

#ifdef __cplusplus
}
#endif

#endif
