/*
 * Models on disk: each is a folder in one of some folders, with a config.pbtxt and a folder for each version.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_FOLDER_SOURCE_H
#define HIPPOCAMP_INFERENCE_MODELS_FOLDER_SOURCE_H

#include "inference/models/model_source.h"

struct folder_source {
	const char *const *paths;
	size_t path_count;
	bool told; /* internal: the warnings about empty folders were given */
};

/* `folders` outlives the source. */
struct model_source folder_source(struct folder_source *folders);

#endif
