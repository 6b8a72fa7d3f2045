#include "front/follower_internal.h"

#include "base/log.h"
#include "front/remote_client.h"
#include "inference/remote.h"

#include <fnmatch.h>
#include <string.h>

#define TARGET_MAX ((size_t)16 * 1024)
#define REREAD_AT_ONCE 4 /* documents of models that show no change, read again in each poll */

static bool
is_chosen(const struct follower *follower, const char *name)
{
	for (size_t i = 0; i < follower->options->cached_count; i++) {
		if (fnmatch(follower->options->cached[i], name, 0) == 0) {
			return true;
		}
	}
	return follower->options->cache_all;
}

static int
ask_of_model(struct follower *follower, size_t replica, const char *name, const char *rest, struct buf *body)
{
	struct buf target;
	int status;

	buf_init(&target, TARGET_MAX);
	buf_text(&target, "/v2/models/");
	http1_percent_encode(&target, bytes_text(name));
	buf_text(&target, rest);
	buf_byte(&target, '\0');
	status = buf_ok(&target) ? follower_ask(follower, replica, "GET", (const char *)target.at, body) : 0;
	buf_fini(&target);
	return status;
}

static void
digest_document(const struct replica_state *state, const struct followed_model *model, struct bytes metadata,
		struct bytes config, struct digest_value *value)
{
	const struct bytes kinds = bytes_make((const uint8_t[]){state->has_binary, model->word != NULL}, 2);
	const struct bytes word = bytes_text(model->word == NULL ? "" : model->word);
	const struct bytes parts[] = {buf_bytes(&state->metadata), metadata, config, kinds, word};
	struct digest *digest = digest_new();

	*value = (struct digest_value){0};
	for (size_t i = 0; digest != NULL && i < sizeof(parts) / sizeof(*parts); i++) {
		digest_add(digest, bytes_make(&parts[i].length, sizeof(parts[i].length)));
		digest_add(digest, parts[i]);
	}
	if (digest != NULL) {
		digest_end(digest, value);
	}
	digest_free(digest);
}

/* Whether a model was loaded again could not be seen. */
static void
tell_without_statistics(struct follower *follower, size_t replica, const char *model)
{
	const char *server = upstream_name(follower->options->upstream, replica);

	if (follower->replicas[replica].has_statistics) {
		if (replica_view_has_counters(&follower->replicas[replica].view, model)) {
			return; /* another one has none */
		}
		log_info(
			"model '%s' is not cached, its requests pass through: upstream %s has no statistics of it that "
			"show when it is loaded again",
			model, server);
	} else if (!follower->told_without_statistics) {
		log_warning(
			"nothing is cached: upstream %s has no statistics, so that it does not show when it loads a "
			"model again. If you state another --upstream-generation whenever models change, give that "
			"option",
			server);
		follower->told_without_statistics = true;
	}
}

/* Makes our configuration of a model of what one replica tells. False: not usable. */
static bool
convert(struct follower *follower, size_t replica, struct followed_model *model, struct bytes metadata,
	struct bytes config)
{
	char hex[2 * DIGEST_SIZE_MAX + 1];
	struct upstream_model_document document = {
		.name = bytes_text(model->name),
		.metadata = metadata,
		.config = config,
		.cached = is_chosen(follower, model->name),
		.marks = {{.name = bytes_text(follower->replicas[replica].has_binary ? "" : FRONT_JSON_ONLY),
			   .value = bytes_text("true")},
			  {.name = bytes_text(model->word == NULL ? "" : REMOTE_UNVERSIONED),
			   .value = bytes_text(model->word == NULL ? "" : model->word)}},
	};
	struct error error;
	struct buf fingerprint;
	bool usable = false;

	if (follower->options->generation == NULL && !follower->options->by_name &&
	    !follower_shows_loads(follower, model->name)) {
		tell_without_statistics(follower, replica, model->name);
		return false;
	}
	hex_text(bytes_make(model->document.bytes, model->document.length), hex);
	buf_init(&fingerprint, FOLLOWER_DOCUMENT_MAX);
	buf_format(&fingerprint, "%s %s %s ", hex, follower->options->by_name ? "" : follower->generation,
		   follower->options->policy);
	buf_text(&fingerprint, follower->options->generation == NULL ? "" : follower->options->generation);
	document.fingerprint = buf_bytes(&fingerprint);
	buf_clear(&model->config);
	if (upstream_model_convert(&document, &model->config, &usable, &error) != STATUS_OK) {
		log_info("model '%s' is not cached, its requests pass through: %s", model->name, error.text);
		usable = false;
	}
	buf_fini(&fingerprint);
	return usable;
}

/* Reads what a replica tells of a model. Returns false if it was not reached, or does not know the model. */
static bool
read_document(struct follower *follower, size_t replica, struct followed_model *model)
{
	struct digest_value digest;
	struct buf metadata;
	struct buf config;
	int status = ask_of_model(follower, replica, model->name, "", &metadata);
	bool good = status == 200;

	follower->replicas[replica].was_reached = status != 0; /* else each model would wait for it again */
	buf_init(&config, FOLLOWER_DOCUMENT_MAX);
	if (good) {
		status = ask_of_model(follower, replica, model->name, "/config", &config);
		good = status != 0;
		follower->replicas[replica].was_reached = good;
		if (status != 200) { /* no such extension */
			buf_clear(&config);
		}
	}
	if (good) {
		digest_document(&follower->replicas[replica], model, buf_bytes(&metadata), buf_bytes(&config), &digest);
		model->document = digest;
		if (model->is_to_be_read) {
			model->is_usable = convert(follower, replica, model, buf_bytes(&metadata), buf_bytes(&config));
		}
	}
	buf_fini(&metadata);
	buf_fini(&config);
	return good;
}

/* Reads it from all replicas. Returns whether they tell the same of it. */
static bool
read_model(struct follower *follower, struct followed_model *model)
{
	struct digest_value first = {0};
	bool any = false;

	for (size_t i = 0; i < follower->replica_count; i++) {
		if (!follower->replicas[i].was_reached) {
			continue;
		}
		if (!read_document(follower, i, model)) {
			return false;
		}
		if (any && memcmp(&first, &model->document, sizeof(first)) != 0) {
			return false;
		}
		first = model->document;
		any = true;
	}
	return any;
}

static void
tell_differing(const struct follower *follower, struct followed_model *model)
{
	if (model->is_to_be_read && !model->told_differing && follower->replica_count > 1) {
		log_warning("model '%s' is not cached while the replicas behind tell different things of it (see its "
			    "metadata and configuration), or some do not have it",
			    model->name);
	}
	model->told_differing = model->is_to_be_read;
}

void
follower_read_new(struct follower *follower)
{
	for (size_t i = 0; i < follower->model_count; i++) {
		struct followed_model *model = &follower->models[i];

		if (model->is_to_be_read && model->version_count > 0) {
			model->is_to_be_read = !read_model(follower, model);
			model->is_usable = model->is_usable && !model->is_to_be_read;
			tell_differing(follower, model);
		}
	}
}

void
follower_read_again(struct follower *follower)
{
	for (size_t i = 0; i < REREAD_AT_ONCE && i < follower->model_count; i++) {
		struct followed_model *model = &follower->models[follower->reread++ % follower->model_count];
		struct digest_value before = model->document;

		if (model->version_count > 0 && !model->is_to_be_read &&
		    (!read_model(follower, model) || memcmp(&before, &model->document, sizeof(before)) != 0)) {
			follower->moved = "what the server tells of a model is new";
		}
	}
}
