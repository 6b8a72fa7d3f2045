#include "plugins/triton.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LIBRARIES_MAX 512
#define LIBRARY "libtritonserver"

struct triton triton;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static size_t caches; /* between their triton_find and triton_leave */

/* --- Finding the host --- */

/* Opens a library that is loaded already, never one from the disk. */
static void *
open_loaded(const char *path)
{
	return path == NULL || *path == '\0' ? NULL : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
}

struct search {
	void *library;
	unsigned seen;
};

static int
look_at_library(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct search *search = argument;
	const char *name = strrchr(info->dlpi_name, '/');

	(void)size;
	name = name == NULL ? info->dlpi_name : name + 1;
	if (strncmp(name, LIBRARY, strlen(LIBRARY)) == 0) {
		search->library = open_loaded(info->dlpi_name);
	}
	return search->library != NULL || ++search->seen >= LIBRARIES_MAX;
}

/*
 * Functions are searched in the caller's library, in the global scope, then in a loaded libtritonserver, which a
 * program may have opened for itself.
 */
struct places {
	void *caller;
	void *library;
};

static void
places_open(struct places *places, const void *caller)
{
	struct search search = {0};
	Dl_info info;

	*places = (struct places){0};
	if (dladdr(caller, &info) != 0) {
		places->caller = open_loaded(info.dli_fname);
	}
	(void)dl_iterate_phdr(look_at_library, &search);
	places->library = search.library;
}

/* The handles may go: the host itself stays loaded for longer than the plug-in. */
static void
places_close(const struct places *places)
{
	if (places->caller != NULL) {
		(void)dlclose(places->caller);
	}
	if (places->library != NULL) {
		(void)dlclose(places->library);
	}
}

static void *
find(const struct places *places, const char *name)
{
	void *found = places->caller == NULL ? NULL : dlsym(places->caller, name);

	if (found == NULL) {
		found = dlsym(RTLD_DEFAULT, name);
	}
	if (found == NULL && places->library != NULL) {
		found = dlsym(places->library, name);
	}
	return found;
}

/* POSIX allows a function's address in an object pointer; ISO C has no cast for it. */
static void
take(void *member, void *found)
{
	memcpy(member, &found, sizeof(found));
}

static const char *
fill(struct triton *new, const void *caller)
{
	const char *missing = NULL;
	struct places places;

	places_open(&places, caller);
	*new = (struct triton){.has_metrics = true};
#define TAKE(name) take(&new->name, find(&places, #name));
#define REQUIRE(name) missing = missing == NULL && new->name == NULL ? #name : missing;
#define WISH(name) new->has_metrics = new->has_metrics &&new->name != NULL;
	TRITON_REQUIRED(TAKE)
	TRITON_OPTIONAL(TAKE)
	TRITON_REQUIRED(REQUIRE)
	TRITON_OPTIONAL(WISH)
#undef TAKE
#undef REQUIRE
#undef WISH
	places_close(&places);
	return missing;
}

const char *
triton_find(const void *caller)
{
	const char *missing = NULL;
	struct triton new;

	(void)pthread_mutex_lock(&mutex);
	if (caches++ == 0) { /* else other threads read it; and a process has one host */
		missing = fill(&new, caller);
		triton = new;
	}
	(void)pthread_mutex_unlock(&mutex);
	return missing;
}

void
triton_leave(void)
{
	(void)pthread_mutex_lock(&mutex);
	caches--;
	(void)pthread_mutex_unlock(&mutex);
}

/* --- Calling the host --- */

enum status
triton_check_version(struct error *error)
{
	uint32_t major = 0;
	uint32_t minor = 0;

	if (!triton_succeeded(triton.TRITONCACHE_ApiVersion(&major, &minor)) ||
	    major != TRITONCACHE_API_VERSION_MAJOR || minor < TRITONCACHE_API_VERSION_MINOR) {
		return error_set(
			error, STATUS_UNSUPPORTED,
			"this server has version %u.%u of Triton's cache interface, and the cache was made for "
			"%d.%d: take a build of it for this server",
			major, minor, TRITONCACHE_API_VERSION_MAJOR, TRITONCACHE_API_VERSION_MINOR);
	}
	return STATUS_OK;
}

bool
triton_succeeded(TRITONSERVER_Error *error)
{
	if (error == NULL) {
		return true;
	}
	triton.TRITONSERVER_ErrorDelete(error);
	return false;
}

void
triton_log(enum log_level level, const char *text)
{
	static const TRITONSERVER_LogLevel levels[] = {
		[LOG_ERROR] = TRITONSERVER_LOG_ERROR,
		[LOG_WARNING] = TRITONSERVER_LOG_WARN,
		[LOG_INFO] = TRITONSERVER_LOG_INFO,
		[LOG_VERBOSE] = TRITONSERVER_LOG_VERBOSE,
	};

	(void)triton_succeeded(triton.TRITONSERVER_LogMessage(levels[level], "hippocamp", 0, text));
}

TRITONSERVER_Error *
triton_error(const struct error *error)
{
	static const TRITONSERVER_Error_Code codes[] = {
		[-STATUS_UNKNOWN] = TRITONSERVER_ERROR_UNKNOWN,
		[-STATUS_INTERNAL] = TRITONSERVER_ERROR_INTERNAL,
		[-STATUS_NOT_FOUND] = TRITONSERVER_ERROR_NOT_FOUND,
		[-STATUS_INVALID_ARGUMENT] = TRITONSERVER_ERROR_INVALID_ARG,
		[-STATUS_UNAVAILABLE] = TRITONSERVER_ERROR_UNAVAILABLE,
		[-STATUS_UNSUPPORTED] = TRITONSERVER_ERROR_UNSUPPORTED,
		[-STATUS_ALREADY_EXISTS] = TRITONSERVER_ERROR_ALREADY_EXISTS,
		[-STATUS_CANCELLED] = TRITONSERVER_ERROR_CANCELLED,
	};

	if (error->status == STATUS_OK) {
		return NULL;
	}
	return triton.TRITONSERVER_ErrorNew(codes[-error->status], error->text);
}
