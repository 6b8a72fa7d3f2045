/*
 * The plug-in under test, and functions that call it as Triton does, on any thread. Every call gets its own entry and
 * allocator.
 */
#ifndef HIPPOCAMP_TOOLS_CONFORMANCE_SUBJECT_H
#define HIPPOCAMP_TOOLS_CONFORMANCE_SUBJECT_H

#include "base/buf.h"
#include "caches/triton/host.h"

struct subject {
	struct host_plugin plugin;
	TRITONCACHE_Cache *cache;
	char prefix[12]; /* of all keys but the empty one, as the cache may hold keys of another run */
};

/* Writes {"key":"value",…} and a NUL, as Triton does from its command line. False: an argument is not KEY=VALUE. */
bool configuration_of(struct buf *json, char **arguments, int count);

/* Return NULL, or what went wrong, which is valid until the next call on this thread. */
const char *subject_load(struct subject *subject, const char *path);
const char *subject_initialize(struct subject *subject, const char *json);
const char *subject_finalize(struct subject *subject);

enum found {
	FOUND_NOTHING, /* the look-up returned an error, as for a miss */
	FOUND,
	FOUND_UNCOPIED, /* success without a copy: Triton takes that for an answer without outputs */
	FOUND_BROKEN,	/* success after a copy that failed, after several copies, or with other than one buffer */
};

/* Looks up `key`; `out` receives the response. */
enum found subject_look_up(const struct subject *subject, const char *key, struct buf *out);

/* The same, with a host whose copy fails. */
enum found subject_look_up_in_vain(const struct subject *subject, const char *key);

/* Insert; true: the plug-in reported success. With `_in_vain` the host's copy fails, for a buffer of `size` bytes. */
bool subject_insert(const struct subject *subject, const char *key, struct bytes response);
bool subject_insert_in_vain(const struct subject *subject, const char *key, size_t size);
/* Inserts `buffers` buffers, where Triton gives one; the host's copy fails. */
void subject_insert_buffers(const struct subject *subject, const char *key, size_t buffers);

/*
 * Makes a response as Triton packs it, with one output of `size` bytes derived from `seed`; response_is compares
 * `found` with that response.
 */
void response_make(struct buf *out, size_t size, uint32_t seed);
bool response_is(const struct buf *found, size_t size, uint32_t seed);

#endif
