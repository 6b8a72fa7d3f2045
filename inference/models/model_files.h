/*
 * The files of one version of a model, as its backend reads them (backends/backend.h), and the digest of exactly the
 * bytes that it got. Room-private; on the thread that loads models.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_MODEL_FILES_H
#define HIPPOCAMP_INFERENCE_MODELS_MODEL_FILES_H

#include "backends/backend.h"
#include "base/buf.h"
#include "base/digest.h"

struct model_files {
	struct backend_files files; /* first */
	struct digest *digest;
};

/* `path` is the version folder and outlives `files`. Returns false when memory runs out. */
bool model_files_init(struct model_files *files, const char *path);
void model_files_fini(struct model_files *files);

/* SHA-256 of the names and contents of the files read, in the order of reading. Call it once. */
void model_files_digest(struct model_files *files, struct digest_value *value);

/*
 * Lists the items of a version folder that no backend could read, and why: "'lock' (a dangling link), ...". Appends
 * nothing if there are none.
 */
void model_files_list_stray(const char *path, struct buf *out);

#endif
