/*
 * What the files of the model repository share. Room-private.
 *
 * repository_index.c: what is known, and the snapshots that loops see. repository_load.c: loading and unloading.
 * repository_ensembles.c: what depends on what. repository.c: commands, the disk, the thread. All but what repository.h
 * gives to loops runs on the repository's thread (before that starts, on the one that starts it).
 */
#ifndef HIPPOCAMP_INFERENCE_REPOSITORY_INTERNAL_H
#define HIPPOCAMP_INFERENCE_REPOSITORY_INTERNAL_H

#include "inference/repository.h"

enum version_state { VERSION_LOADING, VERSION_READY, VERSION_UNLOADING, VERSION_UNAVAILABLE };

struct version {
	int64_t number;
	enum version_state state;
	char *reason;	     /* of VERSION_UNAVAILABLE */
	struct model *model; /* of VERSION_READY: the repository's reference */
};

/* A model that a step of an ensemble names. */
struct ensemble_member {
	char *name;
	int64_t version; /* -1: the newest */
};

/* In order of their names. */
struct ensemble_members {
	struct ensemble_member *list;
	size_t count;
};

/* One model of the repository, loaded or not. */
struct known_model {
	LIST_ENTRY(known_model) next;
	char *name;
	char *folder;
	uint64_t stamp;		  /* of the folder when it was loaded */
	struct version *versions; /* ascending */
	size_t version_count;
	bool failed;	/* the last attempt to load it did */
	bool loading;	/* at this moment; what is loaded meanwhile are its members */
	bool requested; /* for its own sake, not as a member only */
	bool waiting;	/* an ensemble that went with a member, to come back with it */
	struct ensemble_members members;
	char *override_config; /* JSON that a load request gave; kept until unload */
	char *override_folder; /* files that a load request gave */
};

struct repository {
	const struct repository_options *options;
	pthread_t thread;
	pthread_mutex_t mutex; /* commands come from loops, and loops read the table and the index */
	pthread_cond_t changed;
	STAILQ_HEAD(, repository_command) commands;
	SLIST_HEAD(, model) closing;
	size_t open_models;
	bool stopping;
	LIST_HEAD(, known_model) known; /* written by the repository's thread, under the mutex */
	struct model_table *table;
	_Atomic uint64_t generation; /* of the table */
	atomic_bool ready;
};

/* --- repository_index.c --- */

/* Can it name a model: is it a folder's name and no path? */
bool repository_is_name(struct bytes name);

struct known_model *repository_find(struct repository *repository, struct bytes name);
struct known_model *repository_add(struct repository *repository, struct bytes name);
bool known_model_is_loaded(const struct known_model *known);
void known_model_set_version(struct version *version, enum version_state state, const char *reason);
void known_model_drop_override(struct known_model *known);
void known_model_free(struct known_model *known);

/*
 * After any change of what is known or loaded, with the mutex held: makes the new snapshot. Returns the old one, to be
 * dropped outside of the mutex.
 */
struct model_table *repository_publish(struct repository *repository);

/* --- repository_load.c --- */

/* Where the model lies; free() it. The same name in two repositories is an error, as in Triton. */
enum status repository_find_folder(struct repository *repository, const char *name, char **folder, struct error *error);

/* Loads or reloads from known->folder, or from what a load request gave. */
enum status repository_load(struct repository *repository, struct known_model *known, struct error *error);
void repository_unload(struct repository *repository, struct known_model *known);

/* --- repository_ensembles.c --- */

/* None for other models. */
void ensemble_members_read(struct ensemble_members *members, const struct model_config *config);
void ensemble_members_free(struct ensemble_members *members);

/* Loads what the ensemble needs and has not got, or has got in an older state. Nothing for other models. */
enum status repository_load_members(struct repository *repository, struct known_model *ensemble, struct error *error);

/* An ensemble_find_fn; the context is the repository. */
struct model *repository_find_member(void *context, struct bytes name, int64_t version, struct error *error);

/* After a model was loaded: the ensembles that use it, or would if it had been there, are loaded anew. */
void repository_reload_ensembles(struct repository *repository, const struct known_model *member);

/* Before a model is unloaded: so are the ensembles that use it. */
void repository_unload_ensembles(struct repository *repository, const struct known_model *member);

/* Unloads members of an unloaded ensemble that were loaded for it alone. */
void repository_unload_members(struct repository *repository, const struct known_model *ensemble);

/* --- repository_load.c, the end --- */

/* Closes a model that nobody uses any more. */
void repository_close_model(struct repository *repository, struct model *model);

/* The answer for what could not even be read; the reason goes into the log, as Triton has it. */
enum status repository_poll_failed(const char *name, struct error *error);

#endif
