/*
 * Shared by the files of the model repository. Room-private.
 *
 * repository_index.c: the known models, and the snapshots for loops. repository_load.c: reading and opening one model.
 * repository_change.c: what changes along with a model, and taking effect. repository.c: commands, the disk, the
 * thread. Everything but what repository.h gives to loops runs on the repository's thread (before that starts, on the
 * thread that starts it).
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

/* Sorted by name. */
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

/* What a change of the repository prepares for one model, before the whole change takes effect. */
struct staging {
	STAILQ_ENTRY(staging) next;
	struct known_model *known;
	enum staging_state state;
	bool circular;	    /* failed because of a cycle */
	bool follows;	    /* visited because of its members */
	const char *folder; /* of the files */
	struct model_config_text config;
	uint64_t start_ns;
	uint64_t stamp;
	struct remote_link remote;
	struct model_config_text stated; /* the config before it was completed */
	struct ensemble_members members;
	struct version *versions; /* opened, or failed to open */
	size_t version_count;
	struct version *old_versions; /* replaced or unloaded, once it has taken effect */
	size_t old_version_count;
	bool left; /* its model was unloaded */
	bool told; /* an ensemble that uses it reports its failure */
	struct error error;
};

/* One model of the repository, loaded or not. */
struct known_model {
	LIST_ENTRY(known_model) next;
	char *name;
	char *folder;
	uint64_t stamp;			 /* of the folder when it was loaded */
	struct remote_link remote;	 /* of the model that is loaded, or failed to be */
	struct model_config_text stated; /* its config before it was completed */
	bool follows_remote;		 /* being reloaded since it has changed on its server */
	char *told_remote_failure;	 /* of such a reload, once logged */
	struct version *versions;	 /* ascending */
	size_t version_count;
	bool failed;	/* the last attempt to load it failed */
	bool requested; /* loaded for its own sake, not only as a member */
	bool waiting;	/* an ensemble unloaded with a member, to be reloaded with it */
	bool trying;	/* a load request is being tried: if it fails, nothing changes */
	struct ensemble_members members;
	char *override_config;	 /* JSON that a load request gave; kept until unload */
	char *override_folder;	 /* files that a load request gave */
	struct staging *staging; /* of the change under way; NULL: not visited */
	bool leaving;		 /* to be unloaded by the change under way */
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
	bool looks_now;			/* see repository_look */
	uint64_t poll_due_ns;		/* when the source is looked at next, in mode poll */
	STAILQ_HEAD(, staging) change;	/* under way */
	LIST_HEAD(, known_model) known; /* written by the repository's thread, under the mutex */
	struct model_table *table;
	_Atomic uint64_t generation; /* of the table */
	atomic_bool ready;
};

/* --- repository_index.c --- */

/* Can this name a model: is it a folder name and no path? */
bool repository_is_name(struct bytes name);

struct known_model *repository_find(struct repository *repository, struct bytes name);
struct known_model *repository_add(struct repository *repository, struct bytes name);
bool known_model_is_loaded(const struct known_model *known);
void known_model_set_version(struct version *version, enum version_state state, const char *reason);
void known_model_drop_override(struct known_model *known);
void known_model_free(struct known_model *known);

/*
 * Makes the new snapshot, after any change of what is known or loaded, with the mutex held. Returns the old one, to be
 * dropped without the mutex.
 */
struct model_table *repository_publish(struct repository *repository);

void ensemble_members_free(struct ensemble_members *members);

/* An ensemble_find_fn; the context is the repository. */
struct model *repository_find_member(void *context, struct bytes name, int64_t version, struct error *error);

/* --- repository_load.c: one model --- */

/* Finds the model's folder, or another place (model_source.h); free() it. */
enum status repository_find_folder(struct repository *repository, const char *name, char **folder, struct error *error);

uint64_t repository_stamp(const struct repository *repository, const char *folder);

/* Takes over a link, or NULL, in place of the one that there is. */
void repository_take_link(const struct repository *repository, struct known_model *known, struct remote_link *link);

/* Has the model changed on the server on which it runs? */
bool repository_has_changed_remotely(const struct repository *repository, const struct known_model *known);

/* Makes the error for a model that could not be read: Triton's text, then the reason. */
enum status repository_poll_failed(const char *name, struct error *error);

/* Reads and checks the config, finds the members, and chooses the versions. */
enum status staging_read(struct repository *repository, struct staging *staging, struct error *error);

/* Opens the versions; members come from the change under way if it has them. */
enum status staging_open(struct repository *repository, struct staging *staging, struct error *error);

void staging_free(const struct repository *repository, struct staging *staging);

/* Closes a model that nobody uses any more. */
void repository_close_model(struct repository *repository, struct model *model);

/* --- repository_change.c: a model and all that depends on it --- */

/*
 * Loads or reloads a model, from known->folder or what a load request gave: always, or only if it is new or has changed
 * on disk. Before it, loads the models of an ensemble's steps that are new or have changed; after it, reloads the
 * ensembles that use any of them. All of this takes effect at once or, if the model itself fails, not at all. An
 * ensemble that uses the model and cannot be reopened is unloaded.
 */
enum status repository_load(struct repository *repository, struct known_model *known, bool always, struct error *error);

/* Unloads a model and the ensembles that use it; these are reloaded with it. */
void repository_unload(struct repository *repository, struct known_model *known);

/* Unloads members of an unloaded ensemble that were loaded for it alone. */
void repository_unload_members(struct repository *repository, struct known_model *ensemble);

#endif
