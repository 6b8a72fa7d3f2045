/*
 * The C interface between a Triton Inference Server, the host, and its response cache, a plug-in: the part of
 * TRITONCACHE 0.1 that a cache needs. Names, numbers and meanings are Triton's (tritoncache.h and tritonserver.h of
 * triton-inference-server/core); the declarations are our own, so that neither plug-ins nor hosts need Triton's files.
 * They are valid for every release from 23.03 on.
 *
 * A plug-in is the file <cache-directory>/<name>/libtritoncache_<name>.so. The host opens it with RTLD_NOW | RTLD_LOCAL
 * and looks up the four functions that the plug-in exports; the host defines all others.
 *
 * Errors: NULL is success. A plug-in makes the errors that it returns by TRITONSERVER_ErrorNew, and the host deletes
 * them; the plug-in deletes the errors that the host's functions return. Neither exceptions nor longjmp may cross the
 * interface.
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

typedef struct TRITONCACHE_Cache TRITONCACHE_Cache;	      /* the plug-in's own; opaque to the host */
typedef struct TRITONCACHE_CacheEntry TRITONCACHE_CacheEntry; /* the host's; valid during one call */
typedef struct TRITONCACHE_Allocator TRITONCACHE_Allocator;   /* the host's; valid during one call */
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
 * Called once, on the thread that creates the server, before any model is loaded. `config` is one flat JSON object,
 * {"key": "value", …}, valid during the call; all values are strings unless an embedding program supplied the object.
 * *cache is NULL at first; set it to another value. An error ends the server without a call of Finalize.
 */
TRITONSERVER_Error *TRITONCACHE_CacheInitialize(TRITONCACHE_Cache **cache, const char *config);

/* Called once, with no other call in progress, after all models are unloaded; the host then closes the file. Not called
 * if the server is killed. */
TRITONSERVER_Error *TRITONCACHE_CacheFinalize(TRITONCACHE_Cache *cache);

/*
 * Called concurrently with itself and with inserts, on threads that serve requests. `entry` is new and has no buffers.
 * On a hit, pass the one buffer that was inserted to TRITONCACHE_CacheEntryAddBuffer, call TRITONCACHE_Copy, and return
 * NULL. Report a miss by any error, before TRITONCACHE_Copy: a copy that fails midway leaves a partial response.
 */
TRITONSERVER_Error *TRITONCACHE_CacheLookup(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
					    TRITONCACHE_Allocator *allocator);

/*
 * Called concurrently, on threads that run models, before the client gets its response. `entry` has one buffer, with a
 * size and no address: get the size by TRITONCACHE_CacheEntryGetBuffer, allocate memory, pass it to
 * TRITONCACHE_CacheEntrySetBuffer with NULL attributes, and call TRITONCACHE_Copy. The plug-in keeps owning the memory.
 * `key` may be empty; such an entry cannot be found again.
 */
TRITONSERVER_Error *TRITONCACHE_CacheInsert(TRITONCACHE_Cache *cache, const char *key, TRITONCACHE_CacheEntry *entry,
					    TRITONCACHE_Allocator *allocator);

/* --- Defined by the host --- */

TRITONSERVER_Error *TRITONCACHE_ApiVersion(uint32_t *major, uint32_t *minor);

TRITONSERVER_Error *TRITONCACHE_CacheEntryBufferCount(TRITONCACHE_CacheEntry *entry, size_t *count);

/* Copies address and attributes, not the memory, which must stay valid until TRITONCACHE_Copy returns. Fails for GPU
 * memory and for size 0. */
TRITONSERVER_Error *TRITONCACHE_CacheEntryAddBuffer(TRITONCACHE_CacheEntry *entry, void *base,
						    TRITONSERVER_BufferAttributes *attributes);
TRITONSERVER_Error *TRITONCACHE_CacheEntryGetBuffer(TRITONCACHE_CacheEntry *entry, size_t index, void **base,
						    TRITONSERVER_BufferAttributes *attributes);

/* `attributes` may be NULL, to keep the present ones. */
TRITONSERVER_Error *TRITONCACHE_CacheEntrySetBuffer(TRITONCACHE_CacheEntry *entry, size_t index, void *base,
						    TRITONSERVER_BufferAttributes *attributes);

/* In a look-up, copies the entry's buffers to the response; in an insert, the response to the buffers. Call it within
 * the look-up or insert, on its thread. */
TRITONSERVER_Error *TRITONCACHE_Copy(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry);

/* New attributes are uninitialised: set all three. */
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

/* A family appears under its name on the metrics page. Delete its metrics before the family. */
TRITONSERVER_Error *TRITONSERVER_MetricFamilyNew(TRITONSERVER_MetricFamily **family, TRITONSERVER_MetricKind kind,
						 const char *name, const char *description);
TRITONSERVER_Error *TRITONSERVER_MetricFamilyDelete(TRITONSERVER_MetricFamily *family);
TRITONSERVER_Error *TRITONSERVER_MetricNew(TRITONSERVER_Metric **metric, TRITONSERVER_MetricFamily *family,
					   const TRITONSERVER_Parameter **labels, uint64_t label_count);
TRITONSERVER_Error *TRITONSERVER_MetricDelete(TRITONSERVER_Metric *metric);
TRITONSERVER_Error *TRITONSERVER_GetMetricKind(TRITONSERVER_Metric *metric, TRITONSERVER_MetricKind *kind);
TRITONSERVER_Error *TRITONSERVER_MetricValue(TRITONSERVER_Metric *metric, double *value);
TRITONSERVER_Error *TRITONSERVER_MetricIncrement(TRITONSERVER_Metric *metric, double value); /* counters: value >= 0 */
TRITONSERVER_Error *TRITONSERVER_MetricSet(TRITONSERVER_Metric *metric, double value);	     /* gauges only */

/* For labels, which must be strings. Copies name and value. */
TRITONSERVER_Parameter *TRITONSERVER_ParameterNew(const char *name, TRITONSERVER_ParameterType type, const void *value);
void TRITONSERVER_ParameterDelete(TRITONSERVER_Parameter *parameter);

#ifdef __cplusplus
}
#endif

#endif
