#include "caches/triton/host.h"

#include "base/log.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STUB "libtritonserver.so"

/* --- Errors --- */

struct TRITONSERVER_Error {
	TRITONSERVER_Error_Code code;
	char message[];
};

static const char *const code_names[] = {
	[TRITONSERVER_ERROR_UNKNOWN] = "Unknown",
	[TRITONSERVER_ERROR_INTERNAL] = "Internal",
	[TRITONSERVER_ERROR_NOT_FOUND] = "Not found",
	[TRITONSERVER_ERROR_INVALID_ARG] = "Invalid argument",
	[TRITONSERVER_ERROR_UNAVAILABLE] = "Unavailable",
	[TRITONSERVER_ERROR_UNSUPPORTED] = "Unsupported",
	[TRITONSERVER_ERROR_ALREADY_EXISTS] = "Already exists",
	[TRITONSERVER_ERROR_CANCELLED] = "Cancelled",
};

/* Aborts where there is no memory, since a plug-in takes NULL for a success. */
EXPORTED TRITONSERVER_Error *
TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char *message)
{
	size_t length = message == NULL ? 0 : strlen(message);
	TRITONSERVER_Error *error = malloc(sizeof(*error) + length + 1);

	if (error == NULL) {
		abort();
	}
	error->code = code;
	memcpy(error->message, message == NULL ? "" : message, length + 1);
	return error;
}

EXPORTED void
TRITONSERVER_ErrorDelete(TRITONSERVER_Error *error)
{
	free(error);
}

EXPORTED TRITONSERVER_Error_Code
TRITONSERVER_ErrorCode(TRITONSERVER_Error *error)
{
	return error->code;
}

EXPORTED const char *
TRITONSERVER_ErrorCodeString(TRITONSERVER_Error *error)
{
	return (size_t)error->code < sizeof(code_names) / sizeof(*code_names) ? code_names[error->code] : "<invalid>";
}

EXPORTED const char *
TRITONSERVER_ErrorMessage(TRITONSERVER_Error *error)
{
	return error->message;
}

static TRITONSERVER_Error *
invalid(const char *message)
{
	return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INVALID_ARG, message);
}

/* --- Versions --- */

EXPORTED TRITONSERVER_Error *
TRITONCACHE_ApiVersion(uint32_t *major, uint32_t *minor)
{
	*major = TRITONCACHE_API_VERSION_MAJOR;
	*minor = TRITONCACHE_API_VERSION_MINOR;
	return NULL;
}

/* --- Attributes --- */

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesNew(TRITONSERVER_BufferAttributes **attributes)
{
	*attributes = calloc(1, sizeof(**attributes));
	return *attributes == NULL ? TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_UNAVAILABLE, "no memory") : NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesDelete(TRITONSERVER_BufferAttributes *attributes)
{
	free(attributes);
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesSetByteSize(TRITONSERVER_BufferAttributes *attributes, size_t size)
{
	attributes->size = size;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesSetMemoryType(TRITONSERVER_BufferAttributes *attributes, TRITONSERVER_MemoryType type)
{
	attributes->type = type;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesSetMemoryTypeId(TRITONSERVER_BufferAttributes *attributes, int64_t id)
{
	attributes->type_id = id;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesByteSize(TRITONSERVER_BufferAttributes *attributes, size_t *size)
{
	*size = attributes->size;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesMemoryType(TRITONSERVER_BufferAttributes *attributes, TRITONSERVER_MemoryType *type)
{
	*type = attributes->type;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_BufferAttributesMemoryTypeId(TRITONSERVER_BufferAttributes *attributes, int64_t *id)
{
	*id = attributes->type_id;
	return NULL;
}

/* --- Entries --- */

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheEntryBufferCount(TRITONCACHE_CacheEntry *entry, size_t *count)
{
	if (entry == NULL || count == NULL) {
		return invalid("an argument is NULL");
	}
	*count = entry->count;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheEntryAddBuffer(TRITONCACHE_CacheEntry *entry, void *base, TRITONSERVER_BufferAttributes *attributes)
{
	if (entry == NULL || base == NULL || attributes == NULL) {
		return invalid("an argument is NULL");
	}
	if (attributes->size == 0) {
		return invalid("a buffer of no bytes");
	}
	if (attributes->type != TRITONSERVER_MEMORY_CPU && attributes->type != TRITONSERVER_MEMORY_CPU_PINNED) {
		return invalid("only buffers in the memory of the CPU can be in a cache");
	}
	if (entry->count == HOST_BUFFERS_MAX) {
		return invalid("too many buffers in an entry");
	}
	entry->buffers[entry->count++] = (struct host_buffer){.base = base, .attributes = *attributes};
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheEntryGetBuffer(TRITONCACHE_CacheEntry *entry, size_t index, void **base,
				TRITONSERVER_BufferAttributes *attributes)
{
	if (entry == NULL || base == NULL || attributes == NULL) {
		return invalid("an argument is NULL");
	}
	if (index >= entry->count) {
		return invalid("the entry has no buffer of that index");
	}
	*base = entry->buffers[index].base;
	*attributes = entry->buffers[index].attributes;
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONCACHE_CacheEntrySetBuffer(TRITONCACHE_CacheEntry *entry, size_t index, void *base,
				TRITONSERVER_BufferAttributes *attributes)
{
	if (entry == NULL || base == NULL) {
		return invalid("an argument is NULL");
	}
	if (index >= entry->count) {
		return invalid("the entry has no buffer of that index");
	}
	entry->buffers[index].base = base;
	if (attributes != NULL) {
		entry->buffers[index].attributes = *attributes;
	}
	return NULL;
}

EXPORTED TRITONSERVER_Error *
TRITONCACHE_Copy(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry)
{
	if (allocator == NULL || entry == NULL) {
		return invalid("an argument is NULL");
	}
	return allocator->copy(allocator, entry);
}

/* --- The log --- */

static enum log_level
level_of(TRITONSERVER_LogLevel level)
{
	switch (level) {
	case TRITONSERVER_LOG_ERROR:
		return LOG_ERROR;
	case TRITONSERVER_LOG_WARN:
		return LOG_WARNING;
	case TRITONSERVER_LOG_INFO:
		return LOG_INFO;
	case TRITONSERVER_LOG_VERBOSE:
		break;
	}
	return LOG_VERBOSE;
}

EXPORTED bool
TRITONSERVER_LogIsEnabled(TRITONSERVER_LogLevel level)
{
	return log_enabled(level_of(level));
}

EXPORTED TRITONSERVER_Error *
TRITONSERVER_LogMessage(TRITONSERVER_LogLevel level, const char *file, int line, const char *message)
{
	if (log_enabled(level_of(level))) {
		log_write(level_of(level), file, line, "%s", message);
	}
	return NULL;
}

/* --- Libraries --- */

/* Tries <program's folder>/../lib/hippocamp, then meson's build folders; else the loader searches its own places. */
void
host_open_stub(void)
{
	static const char *const places[] = {"/../lib/hippocamp/" STUB, "/caches/triton/" STUB,
					     "/../caches/triton/" STUB, "/../../caches/triton/" STUB};
	char program[PATH_MAX];
	char path[PATH_MAX + 64];
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

	program[length < 0 ? 0 : length] = '\0';
	(void)dirname(program);
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", program, places[i]);
		if (access(path, R_OK) == 0 && dlopen(path, RTLD_NOW | RTLD_GLOBAL) != NULL) {
			return;
		}
	}
}

/* memcpy, since ISO C has no cast to a function pointer; see take() in plugins/triton.c. */
static bool
find(void *library, const char *name, void *function)
{
	void *found = dlsym(library, name);

	memcpy(function, &found, sizeof(found));
	return found != NULL;
}

const char *
host_plugin_open(const char *path, struct host_plugin *plugin)
{
	*plugin = (struct host_plugin){.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
	if (plugin->library == NULL) {
		return dlerror();
	}
	if (!find(plugin->library, "TRITONCACHE_CacheInitialize", &plugin->initialize) ||
	    !find(plugin->library, "TRITONCACHE_CacheFinalize", &plugin->finalize) ||
	    !find(plugin->library, "TRITONCACHE_CacheLookup", &plugin->lookup) ||
	    !find(plugin->library, "TRITONCACHE_CacheInsert", &plugin->insert)) {
		return dlerror();
	}
	return NULL;
}

void
host_plugin_close(struct host_plugin *plugin)
{
	if (plugin->library != NULL) {
		(void)dlclose(plugin->library);
		plugin->library = NULL;
	}
}
