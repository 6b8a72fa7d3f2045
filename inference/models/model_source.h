/*
 * Where the models of a repository come from: folders on disk (folder_source.h), or another server. The repository's
 * thread calls it, and so does the thread that starts the repository, before that one runs.
 *
 * A model's *place* says where it is: a folder, for models on disk.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_MODEL_SOURCE_H
#define HIPPOCAMP_INFERENCE_MODELS_MODEL_SOURCE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_source {
	/* Looks for models. free() each name and the array. */
	enum status (*list)(void *context, char ***names, size_t *count, struct error *error);

	/* STATUS_NOT_FOUND: there is no such model. free() the place. */
	enum status (*find)(void *context, const char *name, char **place, struct error *error);

	/* A number that changes whenever the model does. */
	uint64_t (*stamp)(void *context, const char *place);

	/* The configuration. STATUS_NOT_FOUND: there is none. free() the text. */
	enum status (*config)(void *context, const char *place, char **text, size_t *length, struct error *error);
	bool config_is_json; /* else protobuf's text format */

	/* Ascending; free() the array. */
	enum status (*versions)(void *context, const char *place, int64_t **versions, size_t *count,
				struct error *error);

	bool has_files; /* a place is a folder, and a version is a folder in it */
	void *context;
};

/* The text of a model's configuration. */
struct model_config_text {
	char *at; /* free() it; NULL: there is none */
	size_t length;
	bool is_json; /* else protobuf's text format */
};

/*
 * Those of a repository's models that run on another server. They may change there at any time, so they are looked at
 * in every mode.
 */
struct remote_link {
	void *held;	/* until `release`; NULL: the model runs here */
	uint64_t stamp; /* when the configuration was completed */
	void *server;	/* for whoever runs the model: it stays until the end */
};

struct remote_models {
	/*
	 * If the configuration says that the model runs on another server, completes it, and sets *link, also on
	 * failure; else only sets it to zeros. A load request may have given the configuration.
	 */
	enum status (*complete)(void *context, const char *name, struct model_config_text *config,
				struct remote_link *link, struct error *error);

	/* A number that changes whenever the model does on its server. repository_look says when to compare it. */
	uint64_t (*stamp)(void *context, void *held);

	void (*release)(void *context, void *held);

	void *context;
};

#endif
