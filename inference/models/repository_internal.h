/*
 * What the files of the model repository share. Room-private.
 *
 * repository_index.c: what is known, and the snapshots that loops see. repository_load.c: reading and opening one
 * model. repository_change.c: what goes with it, and taking effect. repository.c: commands, the disk, the thread. All
 * but what repository.h gives to loops runs on the repository's thread (before that starts, on the one that starts it).
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_REPOSITORY_INTERNAL_H
#define HIPPOCAMP_INFERENCE_MODELS_REPOSITORY_INTERNAL_H

#include "inference/models/repository.h"

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
	int64_t version;	   /* -1: the newest */
	struct known_model *known; /* NULL while there is none of that name */
};

/* In order of their names. */
struct ensemble_members {
	struct ensemble_member *list;
	size_t count;
};

enum staging_state {
	STAGING_UNDERWAY,
	STAGING_SAME, /* nothing to be done */
	STAGING_READY,
	STAGING_FAILED
};

/* What a change of the repository makes of one model, before all that it makes takes effect. */
struct staging {
	STAILQ_ENTRY(staging) next;
	struct known_model *known;
	enum staging_state state;
	bool circular;	    /* why it failed */
	bool follows;	    /* looked at because of its members */
	const char *folder; /* of the files */
	char *config;	    /* the text, or NULL: there is no file */
	size_t config_length;
	bool config_is_json;
	uint64_t start_ns;
	uint64_t stamp;
	struct ensemble_members members;
	struct version *versions; /* opened, or failed to */
	size_t version_count;
	struct version *old_versions; /* that went, once it has taken effect */
	size_t old_version_count;
	bool left; /* its model was unloaded */
	bool told; /* why it failed, by the ensemble that it is of */
	struct error error;
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
	bool requested; /* for its own sake, not as a member only */
	bool waiting;	/* an ensemble that went with a member, to come back with it */
	bool trying;	/* what a load request gives: if it fails it was never there */
	struct ensemble_members members;
	char *override_config;	 /* JSON that a load request gave; kept until unload */
	char *override_folder;	 /* files that a load request gave */
	struct staging *staging; /* of the change under way; NULL: not looked at */
	bool leaving;		 /* with the change under way */
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
	STAILQ_HEAD(, staging) change;	/* under way */
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

void ensemble_members_free(struct ensemble_members *members);

/* An ensemble_find_fn; the context is the repository. */
struct model *repository_find_member(void *context, struct bytes name, int64_t version, struct error *error);

/* --- repository_load.c: one model --- */

/* Where the model lies; free() it. The same name in two repositories is an error, as in Triton. */
enum status repository_find_folder(struct repository *repository, const char *name, char **folder, struct error *error);

/* The answer for what could not even be read: Triton's text, and behind it the reason. */
enum status repository_poll_failed(const char *name, struct error *error);

/* Reads and checks the config, finds the members, and chooses the versions. */
enum status staging_read(struct repository *repository, struct staging *staging, struct error *error);

/* Opens the versions; members are looked for in the change under way first. */
enum status staging_open(struct repository *repository, struct staging *staging, struct error *error);

void staging_free(struct staging *staging);

/* Closes a model that nobody uses any more. */
void repository_close_model(struct repository *repository, struct model *model);

/* --- repository_change.c: all that depends on it --- */

/*
 * Loads or reloads a model, from known->folder or what a load request gave; `always`, or only where it is new or has
 * changed on disk. So are, before it, the models of an ensemble's steps where they are new or have changed, and, after
 * it, the ensembles that use any of them. All of it takes effect at once, or, where the model itself fails, nothing. An
 * ensemble that uses it and cannot be opened with what it is now goes.
 */
enum status repository_load(struct repository *repository, struct known_model *known, bool always, struct error *error);

/* With the ensembles that use it, which come back with it. */
void repository_unload(struct repository *repository, struct known_model *known);

/* Unloads members of an unloaded ensemble that were loaded for it alone. */
void repository_unload_members(struct repository *repository, struct known_model *ensemble);

#endif
