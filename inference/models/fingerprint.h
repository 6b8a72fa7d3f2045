/*
 * A model's fingerprint: the SHA-256 of all that determines its answers: every file that its backend read, the parts of
 * its config that change what it computes, and its backend's version. It is part of every cache key, so that an answer
 * made with other weights is never used, on any server that shares the cache.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_FINGERPRINT_H
#define HIPPOCAMP_INFERENCE_MODELS_FINGERPRINT_H

#include "base/digest.h"
#include "inference/models/ensemble.h"

/*
 * The parts of a fingerprint: the files as the backend read them (model_files_digest; zeros if it reads none), the
 * completed config, the backend's version, and the fingerprints of the models of an ensemble's steps.
 */
struct fingerprint_parts {
	struct digest_value files;
	const struct model_config *config;
	const char *backend_version;
	const struct ensemble *ensemble; /* or NULL */
};

enum status fingerprint_model(const struct fingerprint_parts *parts, struct digest_value *value, struct error *error);

#endif
