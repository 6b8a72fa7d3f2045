#include "plugins/generation.h"

#include "base/clock.h"
#include "plugins/triton.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FORMAT "1" /* of what is kept: plugins/entry.h */
#define TEXT_MAX 4096
#define SHOWN_MAX 64
#define SLOTS 4096
#define FORGOTTEN_NS UINT64_C(600000000000) /* a request that took longer for its answer is lost */

/* Keys that were asked for in vain, by their hash; those that share a slot share their fate. */
struct slot {
	uint64_t generation; /* the oldest of them */
	uint64_t asked_ns;   /* … when it was last asked for in that one */
	uint32_t requests;   /* that have not stored an answer yet */
};

struct generation {
	char *name_space;
	char *file; /* NULL: it never changes, and nothing below needs a lock */
	struct digest *digest;
	pthread_rwlock_t lock;
	uint64_t number;
	struct digest_secret secret; /* made of namespace and generation */
	char scope[GENERATION_SCOPE_MAX];
	size_t scope_length;

	struct stat seen; /* of the file; only generation_refresh */
	char text[TEXT_MAX];
	bool complained;

	pthread_mutex_t mutex;
	struct slot *slots;
};

/* --- The generation --- */

/* Its beginning, as part of a key that people read. */
static void
show(const char *text, char *shown)
{
	size_t length = 0;

	for (; text[length] != '\0' && length < SHOWN_MAX; length++) {
		bool plain = isalnum((unsigned char)text[length]) || strchr("._-", text[length]) != NULL;

		shown[length] = plain ? text[length] : '_';
	}
	shown[length] = '\0';
}

/* triton[.<namespace>]:1:<generation>, in the place of model:version:fingerprint. */
static void
take_text(struct generation *generation, const char *text)
{
	struct bytes name_space = bytes_text(generation->name_space);
	char name[SHOWN_MAX + 1];
	char shown[SHOWN_MAX + 1];
	struct buf all;

	show(generation->name_space, name);
	show(text, shown);
	buf_init(&all, (size_t)1 << 20);
	buf_format(&all, "hippocamp plug-in " FORMAT ":%zu:", name_space.length);
	buf_append(&all, name_space);
	buf_text(&all, text);
	digest_secret_init(&generation->secret, buf_bytes(&all));
	buf_fini(&all);
	(void)snprintf(generation->scope, sizeof(generation->scope), "triton%s%s:" FORMAT ":%s",
		       *name == '\0' ? "" : ".", name, *shown == '\0' ? "0" : shown);
	generation->scope_length = strlen(generation->scope);
}

/* The file's content without white space at its end. */
static enum status
read_file(const char *path, char *text, struct error *error)
{
	FILE *file = fopen(path, "re");
	size_t length;

	if (file == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "cannot read generation_file '%s': %s", path,
				 strerror(errno));
	}
	length = fread(text, 1, TEXT_MAX - 1, file);
	(void)fclose(file);
	while (length > 0 && isspace((unsigned char)text[length - 1])) {
		length--;
	}
	text[length] = '\0';
	if (length == 0 || strlen(text) != length) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "generation_file '%s' is %s: it should hold a text, another one for each state of the "
				 "models",
				 path, length == 0 ? "empty" : "binary");
	}
	return STATUS_OK;
}

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void
complain(struct generation *generation, const struct error *error)
{
	char line[ERROR_TEXT_SIZE + 100];

	if (!generation->complained) {
		(void)snprintf(line, sizeof(line), "cache: %s; the generation stays as it was", error->text);
		triton_log(LOG_WARNING, line);
	}
	generation->complained = true;
}

static void
change(struct generation *generation, const char *text)
{
	char shown[SHOWN_MAX + 1];
	char line[SHOWN_MAX + 64];

	(void)pthread_rwlock_wrlock(&generation->lock);
	take_text(generation, text);
	generation->number++;
	(void)pthread_rwlock_unlock(&generation->lock);
	(void)snprintf(generation->text, sizeof(generation->text), "%s", text);
	show(text, shown);
	(void)snprintf(line, sizeof(line), "cache: the generation is now '%s'", shown);
	triton_log(LOG_INFO, line);
}

void
generation_refresh(struct generation *generation)
{
	char text[TEXT_MAX];
	struct stat now = {0};
	struct error error;

	if (generation->file == NULL) {
		return;
	}
	if (stat(generation->file, &now) == 0 && is_same_file(&now, &generation->seen) && !generation->complained) {
		return;
	}
	if (read_file(generation->file, text, &error) != STATUS_OK) {
		complain(generation, &error);
		return;
	}
	generation->complained = false;
	generation->seen = now;
	if (strcmp(text, generation->text) != 0) {
		change(generation, text);
	}
}

/* --- Keys --- */

static void
lock(struct generation *generation)
{
	if (generation->file != NULL) {
		(void)pthread_rwlock_rdlock(&generation->lock);
	}
}

static void
unlock(struct generation *generation)
{
	if (generation->file != NULL) {
		(void)pthread_rwlock_unlock(&generation->lock);
	}
}

static void
make_key(const struct generation *generation, const char *triton_key, struct generation_key *key)
{
	struct bytes text = bytes_text(triton_key);

	memcpy(key->scope_text, generation->scope, generation->scope_length);
	key->key.scope = bytes_make(key->scope_text, generation->scope_length);
	digest_once(generation->digest, &generation->secret, text, &key->key.digest);
	key->hash = generation->file == NULL ? 0 : checksum64(text);
	key->number = generation->number;
}

void
generation_make_key(struct generation *generation, const char *triton_key, struct generation_key *key)
{
	lock(generation);
	make_key(generation, triton_key, key);
	unlock(generation);
}

static struct slot *
slot_of(struct generation *generation, const struct generation_key *key)
{
	return &generation->slots[key->hash % SLOTS];
}

void
generation_missed(struct generation *generation, const struct generation_key *key)
{
	struct slot *slot;
	uint64_t now;

	if (generation->file == NULL) {
		return;
	}
	now = clock_now_ns();
	(void)pthread_mutex_lock(&generation->mutex);
	slot = slot_of(generation, key);
	if (slot->requests == 0 || now - slot->asked_ns > FORGOTTEN_NS) {
		*slot = (struct slot){.generation = key->number};
	}
	slot->requests++;
	if (key->number <= slot->generation) {
		slot->generation = key->number;
		slot->asked_ns = now;
	}
	(void)pthread_mutex_unlock(&generation->mutex);
}

static bool
is_of_this(struct generation *generation, const struct generation_key *key)
{
	struct slot *slot = slot_of(generation, key);
	bool same;

	(void)pthread_mutex_lock(&generation->mutex);
	same = slot->requests > 0 && slot->generation == generation->number;
	slot->requests -= slot->requests > 0;
	(void)pthread_mutex_unlock(&generation->mutex);
	return same;
}

bool
generation_make_insert_key(struct generation *generation, const char *triton_key, struct generation_key *key)
{
	bool good;

	lock(generation);
	make_key(generation, triton_key, key);
	good = generation->file == NULL || is_of_this(generation, key);
	unlock(generation);
	return good;
}

/* --- From first to last --- */

static enum status
begin(struct generation *generation, const char *text, struct error *error)
{
	enum status status = STATUS_OK;

	if (generation->file != NULL) {
		(void)stat(generation->file, &generation->seen); /* before, so that a change meanwhile is seen */
		status = read_file(generation->file, generation->text, error);
		text = generation->text;
	}
	if (status == STATUS_OK) {
		take_text(generation, text == NULL ? "" : text);
	}
	return status;
}

struct generation *
generation_open(const char *name_space, const char *text, const char *file, struct error *error)
{
	struct generation *generation = calloc(1, sizeof(*generation));

	if (generation == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
		return NULL;
	}
	(void)pthread_rwlock_init(&generation->lock, NULL);
	(void)pthread_mutex_init(&generation->mutex, NULL);
	generation->name_space = strdup(name_space);
	generation->file = file == NULL ? NULL : strdup(file);
	generation->digest = digest_new(DIGEST_XXH3);
	generation->slots = file == NULL ? NULL : calloc(SLOTS, sizeof(*generation->slots));
	if (generation->name_space == NULL || generation->digest == NULL ||
	    (file != NULL && (generation->file == NULL || generation->slots == NULL))) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
		generation_close(generation);
		return NULL;
	}
	if (begin(generation, text, error) != STATUS_OK) {
		generation_close(generation);
		return NULL;
	}
	return generation;
}

void
generation_close(struct generation *generation)
{
	if (generation == NULL) {
		return;
	}
	(void)pthread_rwlock_destroy(&generation->lock);
	(void)pthread_mutex_destroy(&generation->mutex);
	digest_free(generation->digest);
	free(generation->name_space);
	free(generation->file);
	free(generation->slots);
	free(generation);
}
