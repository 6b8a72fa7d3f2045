/*
 * The JSON bodies of requests that steer the server: repository index, model load, log settings.
 */
#ifndef HIPPOCAMP_WIRE_ADMIN_BODY_H
#define HIPPOCAMP_WIRE_ADMIN_BODY_H

#include "base/arena.h"
#include "base/log.h"
#include "base/status.h"

/* {"ready": bool}; an empty body means false. */
enum status index_body_decode(struct bytes text, bool *ready_only, struct error *error);

struct load_body_file {
	struct bytes path;
	struct bytes content;
};

struct load_body {
	bool has_config;
	struct bytes config;
	struct load_body_file *files;
	size_t file_count;
};

/* {"parameters": {"config": "<json>", "file:<path>": "<base64>"}}; an empty body means neither. Copies into the arena.
 */
enum status load_body_decode(struct bytes text, struct arena *arena, struct load_body *body, struct error *error);

/* {"parameters": {"unload_dependents": bool}}; an empty body means false. */
enum status unload_body_decode(struct bytes text, bool *unload_dependents, struct error *error);

/*
 * {"model": "<name>", "version": "<digits>"}, both may be left out; an empty body means neither. Strict, since a wrong
 * one would remove too much. Copies into the arena.
 */
struct purge_body {
	struct bytes model;
	struct bytes version;
};

enum status purge_body_decode(struct bytes text, struct arena *arena, struct purge_body *body, struct error *error);

/* Changes what the body names in `settings`; unknown members are ignored. */
enum status log_body_decode(struct bytes text, struct log_settings *settings, struct error *error);

#endif
