#include "front/follower.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/memory.h"
#include "front/group.h"
#include "front/remote_client.h"
#include "front/replica_view.h"
#include "inference/remote.h"
#include "upstream/replica.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_NS UINT64_C(2000000000) /* for a whole response */
#define IDLE_NS UINT64_C(3000000000)
#define ASLEEP_NS UINT64_C(4000000000)
#define FETCH_MAX ((size_t)64 << 20)
#define WHY_MAX 300
#define TARGET_MAX ((size_t)16 * 1024)
#define REREAD_AT_ONCE 4 /* documents of models that show no change, read again in each poll */

struct replica_state {
	bool is_known;	   /* it was reached before */
	bool was_reached;  /* at the last poll */
	uint64_t read_ns;  /* when its view was read */
	uint64_t retry_ns; /* after a failure: when to ask again; as long after it as it took */
	size_t losses;
	struct replica_view view;
	struct buf metadata; /* of the server */
	bool has_statistics;
	bool has_binary;
};

struct followed_model {
	char *name;
	int64_t *versions; /* ascending; none: it is gone */
	size_t version_count;
	char *word; /* its only version, which is no number; NULL: they are numbers */
	bool is_to_be_read;
	bool told_differing;
	bool is_usable;
	struct digest_value document; /* of what the server tells */
	struct buf config;	      /* ours, as JSON */
};

struct follower {
	const struct follower_options *options;
	struct loop *loop;
	struct upstream_lane *lane;
	atomic_bool stopping;
	struct loop_mail wake;
	struct replica_state *replicas;
	size_t replica_count;
	struct followed_model *models;
	size_t model_count;
	size_t reread; /* the next one to be read again */
	bool told_unreachable;
	char why[2 * WHY_MAX]; /* the last request failed */
	bool told_without_statistics;
	char generation[GROUP_GENERATION]; /* "": the first one, where the owner states what the files are */
	struct group *group;
	bool has_reached;	  /* any replica, once */
	atomic_bool told_reached; /* for follower_count */
	atomic_size_t told_models;
	atomic_size_t told_cached;
	bool was_asleep;     /* since the last look */
	uint64_t ended_ns;   /* the last look, by clock_boot_ns */
	const char *moved;   /* why a new generation begins; NULL: none does */
	atomic_bool changed; /* see follower_note_change */
};

/* --- Requests --- */

struct fetch {
	struct upstream_call call; /* first */
	int status;
	struct buf *body;
	bool is_done;
	bool is_whole;
	char why[WHY_MAX]; /* it failed */
};

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	((struct fetch *)call)->status = head->status;
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	buf_append(((struct fetch *)call)->body, part);
	return true;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct fetch *fetch = (struct fetch *)call;

	fetch->is_done = true;
	fetch->is_whole = outcome == HTTP_CALL_DONE;
	(void)snprintf(fetch->why, sizeof(fetch->why), "%s", why == NULL ? "" : why);
}

/* Keeps what is to be said if no replica answers as it should. */
static void
tell_why(struct follower *follower, const struct fetch *fetch, size_t replica, const char *method, const char *target)
{
	const char *name = upstream_name(follower->options->upstream, replica);

	if (!fetch->is_done) {
		(void)snprintf(follower->why, sizeof(follower->why), "%s: no answer to %s %s", name, method, target);
	} else if (!fetch->is_whole) {
		(void)snprintf(follower->why, sizeof(follower->why), "%s", fetch->why);
	} else if (fetch->status != 200) {
		(void)snprintf(
			follower->why, sizeof(follower->why),
			"%s: HTTP status %d to %s %s; is this the HTTP port of a server of the KServe v2 protocol? "
			"The address comes before the /v2 of its paths",
			name, fetch->status, method, target);
	}
}

/* Asks one replica, and waits. Returns the HTTP status, or 0 if there was no whole response. */
static int
ask(struct follower *follower, size_t replica, const char *method, const char *target, struct buf *body)
{
	struct bytes content = bytes_text("{}"); /* MLServer wants one */
	bool posts = strcmp(method, "POST") == 0;
	struct fetch fetch = {
		.call = {.method = method,
			 .target = bytes_text(target),
			 .headers = posts ? bytes_text("Content-Type: application/json\r\n") : bytes_make(NULL, 0),
			 .body = &content,
			 .body_count = posts,
			 .is_repeatable = true,
			 .only = (ptrdiff_t)replica,
			 .on_head = on_head,
			 .on_body = on_body,
			 .done = on_done},
		.body = body,
	};
	uint64_t deadline;

	buf_init(body, FETCH_MAX);
	if (atomic_load(&follower->stopping)) {
		return 0;
	}
	deadline = clock_now_ns() + FETCH_NS;
	upstream_call_start(follower->lane, &fetch.call);
	while (!fetch.is_done && !atomic_load(&follower->stopping) && clock_now_ns() < deadline) {
		uint64_t turned = clock_boot_ns();

		loop_turn(follower->loop); /* at least once a second */
		follower->was_asleep = follower->was_asleep || clock_boot_ns() - turned > ASLEEP_NS;
	}
	if (!fetch.is_done) {
		upstream_call_cancel(&fetch.call);
	}
	tell_why(follower, &fetch, replica, method, target);
	return fetch.is_whole && buf_ok(body) ? fetch.status : 0;
}

/* --- Models --- */

static struct followed_model *
find_model(const struct follower *follower, const char *name)
{
	for (size_t i = 0; i < follower->model_count; i++) {
		if (strcmp(follower->models[i].name, name) == 0) {
			return &follower->models[i];
		}
	}
	return NULL;
}

static struct followed_model *
add_model(struct follower *follower, const char *name)
{
	struct followed_model *model;

	follower->models = memory_grow(follower->models, follower->model_count + 1, sizeof(*follower->models));
	model = &follower->models[follower->model_count++];
	*model = (struct followed_model){.name = memory_text(name), .is_to_be_read = true};
	buf_init(&model->config, FETCH_MAX);
	return model;
}

/* --- Generations --- */

/* Keys are made for the group's generation from now on. */
static void
enter_generation(struct follower *follower)
{
	group_enter(follower->group, follower->generation);
	for (size_t i = 0; i < follower->model_count; i++) {
		follower->models[i].is_to_be_read = true;
	}
	for (size_t i = 0; i < follower->replica_count; i++) {
		replica_view_begin(&follower->replicas[i].view, upstream_ledger(follower->options->upstream), i);
	}
}

static void
begin_generation(struct follower *follower)
{
	log_info("models behind may have changed, as %s: what was cached before is used no longer", follower->moved);
	if (follower->options->generation != NULL && *follower->generation == '\0') {
		log_warning("the generation '%s' is used up: what is cached is not shared any more; start again with "
			    "another --upstream-generation",
			    follower->options->generation);
	}
	group_move(follower->group);
	for (size_t i = 0; i < follower->model_count; i++) {
		if (follower->options->purge != NULL && follower->models[i].is_usable) {
			(void)follower->options->purge(follower->options->purge_context, follower->models[i].name);
		}
	}
	enter_generation(follower);
	follower->moved = NULL;
}

/* --- Models behind --- */

static void
add_version(struct followed_model *model, const struct version_view *one)
{
	model->versions = memory_grow(model->versions, model->version_count + 1, sizeof(*model->versions));
	model->versions[model->version_count++] = one->version;
	free(model->word);
	model->word = memory_text(one->word);
}

/* A view is sorted by name and version: so are the models' versions. */
static void
take_versions(struct follower *follower, const struct replica_view *view)
{
	for (size_t i = 0; i < follower->model_count; i++) {
		follower->models[i].version_count = 0;
	}
	for (size_t i = 0; i < view->count; i++) {
		struct followed_model *model = find_model(follower, view->versions[i].name);

		if (model == NULL && !follower->options->by_name) {
			model = add_model(follower, view->versions[i].name);
		}
		if (model != NULL) {
			add_version(model, &view->versions[i]);
		}
	}
}

/* --- Replicas --- */

/* Reads which models a replica has, as an index. False: it was not reached, or has no list of them. */
static bool
read_index(struct follower *follower, size_t replica, struct buf *index)
{
	struct buf names;
	int status = ask(follower, replica, "POST", "/v2/repository/index", index);
	bool good = status == 200;

	if (good || (status != 404 && status != 405 && status != 501)) {
		return good;
	}
	good = ask(follower, replica, "GET", "/v2/models", &names) == 200;
	buf_clear(index);
	good = good && upstream_index_from_names(buf_bytes(&names), index);
	buf_fini(&names);
	return good;
}

/* Reads a replica's index and statistics. False: it was not reached. */
static bool
read_view(struct follower *follower, size_t replica, struct replica_view *view)
{
	struct replica_state *state = &follower->replicas[replica];
	struct error error;
	struct buf index;
	struct buf statistics;
	bool good = read_index(follower, replica, &index);

	buf_init(&statistics, FETCH_MAX);
	if (good && state->has_statistics) {
		good = ask(follower, replica, "GET", "/v2/models/stats", &statistics) == 200;
	}
	if (good && replica_view_read(view, buf_bytes(&index), buf_bytes(&statistics), &error) != STATUS_OK) {
		(void)snprintf(follower->why, sizeof(follower->why),
			       "%s: what it tells of its models is not understood; is this the HTTP port of a server "
			       "of the KServe v2 protocol?",
			       upstream_name(follower->options->upstream, replica));
		good = false;
	}
	buf_fini(&index);
	buf_fini(&statistics);
	return good;
}

/* What the server tells of itself, after it was not reached. */
static bool
read_server(struct follower *follower, size_t replica)
{
	struct replica_state *state = &follower->replicas[replica];

	buf_fini(&state->metadata);
	if (ask(follower, replica, "GET", "/v2", &state->metadata) != 200) {
		return false;
	}
	state->has_statistics = upstream_has_extension(buf_bytes(&state->metadata), "statistics");
	state->has_binary = upstream_has_extension(buf_bytes(&state->metadata), "binary_tensor_data") ||
			    upstream_has_extension(buf_bytes(&state->metadata), "binary_data");
	return true;
}

/*
 * Has a connection been ended that was used a moment ago, as by a server that ends? Servers also end connections that
 * were idle for a while (uvicorn: 5 s); then the counters must show that they go on.
 */
static bool
looks_restarted(const struct replica_state *state, size_t losses)
{
	bool idle = clock_now_ns() - state->read_ns > IDLE_NS;

	/* Without counters, the owner's word counts. */
	return losses != state->losses &&
	       !(idle && (!state->has_statistics || replica_view_has_evidence(&state->view)));
}

static bool
is_followed(void *context, const char *name)
{
	return find_model(context, name) != NULL;
}

/* A replica that was restarted or not reached may have other models; so may one that shows it. */
static void
judge(struct follower *follower, struct replica_state *state, struct replica_view *view, size_t losses)
{
	const char *why = NULL;

	if (!state->was_reached) {
		why = "a replica is back that was not reached";
	} else if (looks_restarted(state, losses)) {
		why = "a replica ended its connection, as when it is restarted";
	} else {
		if (follower->options->by_name) { /* models are released, too */
			replica_view_keep(&state->view, is_followed, follower);
		}
		why = replica_view_compare(&state->view, view, follower->options->by_name);
	}
	follower->moved = why != NULL ? why : follower->moved;
}

static void
poll_replica(struct follower *follower, size_t replica)
{
	struct replica_state *state = &follower->replicas[replica];
	struct replica_view view = {0};
	uint64_t start = clock_now_ns();
	size_t losses;

	if (start < state->retry_ns) {
		return;
	}
	if ((!state->was_reached && !read_server(follower, replica)) || !read_view(follower, replica, &view)) {
		state->was_reached = false;
		state->retry_ns = clock_now_ns() + (clock_now_ns() - start);
		return;
	}
	if (follower->options->by_name) {
		replica_view_keep(&view, is_followed, follower);
	}
	replica_view_count_answers(&view, upstream_ledger(follower->options->upstream), replica);
	losses = upstream_lane_losses(follower->lane, replica);
	if (state->was_reached && losses != state->losses && !read_server(follower, replica)) {
		state->was_reached = false;
		replica_view_fini(&view);
		return;
	}
	if (state->is_known) {
		judge(follower, state, &view, losses);
	} else {
		replica_view_begin(&view, upstream_ledger(follower->options->upstream), replica);
		if (group_is_joined(follower->group)) {
			follower->moved = "a replica was reached for the first time";
		}
	}
	state->losses = losses;
	state->was_reached = true;
	state->is_known = true;
	state->read_ns = clock_now_ns();
	follower->has_reached = true;
	replica_view_fini(&state->view);
	state->view = view;
}

/* --- Documents --- */

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
	status = buf_ok(&target) ? ask(follower, replica, "GET", (const char *)target.at, body) : 0;
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
	buf_init(&fingerprint, FETCH_MAX);
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
	buf_init(&config, FETCH_MAX);
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

/* While replicas that should be equal tell different things of a model, it is not cached. */
static void
read_new(struct follower *follower)
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

/* Reads some models again, in turn: their configuration may change without a sign. */
static void
read_again(struct follower *follower)
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

/* --- The source --- */

static const struct replica_state *
first_reached(const struct follower *follower)
{
	for (size_t i = 0; i < follower->replica_count; i++) {
		if (follower->replicas[i].was_reached) {
			return &follower->replicas[i];
		}
	}
	return NULL;
}

static void
tell_unreachable(struct follower *follower)
{
	if (!follower->told_unreachable) {
		log_warning("cannot read the models of upstream %s; it is tried again every %" PRId64 " s",
			    follower->why, follower->options->poll_secs);
		follower->told_unreachable = true;
	}
}

/* After so long without a look another model may have counted as much as the one before. */
static uint64_t
asleep_ns(const struct follower *follower)
{
	return 3 * (uint64_t)follower->options->poll_secs * NS_PER_S + ASLEEP_NS;
}

/* Others have left the old answers, and nobody can say which are right: nothing is cached until a server is reached. */
static void
forget_models(struct follower *follower)
{
	for (size_t i = 0; i < follower->model_count; i++) {
		follower->models[i].is_usable = false;
		follower->models[i].is_to_be_read = true;
	}
}

static void
poll_all(struct follower *follower)
{
	const struct replica_state *reached;
	bool changed = atomic_exchange(&follower->changed, false); /* before the views, which then show it */

	if (follower->has_reached) { /* else it would take over what it cannot judge */
		group_listen(follower->group);
	}
	if (follower->has_reached && clock_boot_ns() - follower->ended_ns > asleep_ns(follower)) {
		follower->was_asleep = true;
	}
	for (size_t i = 0; i < follower->replica_count; i++) {
		poll_replica(follower, i);
		replica_note_read(&upstream_replicas(follower->options->upstream)->replicas[i],
				  follower->replicas[i].was_reached);
	}
	if (follower->was_asleep) {
		follower->moved = "they were not looked at for long: this process, or its machine, stood still";
	}
	follower->was_asleep = false;
	if (changed) {
		follower->moved = "a request to load or unload one passed through";
	}
	reached = first_reached(follower);
	if (atomic_load(&follower->stopping)) {
		return;
	}
	if (reached == NULL) {
		tell_unreachable(follower);
		if (group_has_moved(follower->group)) {
			forget_models(follower);
		}
		return;
	}
	if (follower->told_unreachable) {
		log_info("the models of upstream %s are known", upstream_name(follower->options->upstream, 0));
	}
	follower->told_unreachable = false;
	take_versions(follower, &reached->view);
	read_again(follower);
	if (atomic_load(&follower->stopping)) { /* what was read meanwhile is not complete */
		return;
	}
	if (follower->moved != NULL) {
		begin_generation(follower);
	} else if (group_has_moved(follower->group)) {
		if (group_is_anothers(follower->group)) {
			log_info("the generation is that of another front from now on, with which answers are shared");
		}
		enter_generation(follower);
	}
	read_new(follower);
	group_tell(follower->group);
}

static bool
is_there(const struct followed_model *model)
{
	return model->version_count > 0 && model->is_usable;
}

static enum status
list(void *context, char ***names, size_t *count, struct error *error)
{
	struct follower *follower = context;
	size_t models = 0;

	(void)error;
	if (!atomic_load(&follower->stopping)) {
		poll_all(follower);
		follower->ended_ns = clock_boot_ns();
	}
	*names = memory_array(follower->model_count + 1, sizeof(**names));
	*count = 0;
	for (size_t i = 0; i < follower->model_count; i++) {
		models += follower->models[i].version_count > 0;
		if (is_there(&follower->models[i])) {
			(*names)[(*count)++] = memory_text(follower->models[i].name);
		}
	}
	atomic_store(&follower->told_models, models);
	atomic_store(&follower->told_cached, *count);
	atomic_store(&follower->told_reached, follower->has_reached);
	return STATUS_OK;
}

static enum status
find(void *context, const char *name, char **place, struct error *error)
{
	const struct followed_model *model = find_model(context, name);

	*place = NULL;
	if (model == NULL || !is_there(model)) {
		return error_set(error, STATUS_NOT_FOUND, "model '%s' is not cached", name);
	}
	*place = memory_text(name);
	return STATUS_OK;
}

static uint64_t
stamp(void *context, const char *place)
{
	const struct followed_model *model = find_model(context, place);
	uint64_t parts[2];

	if (model == NULL) {
		return 0;
	}
	parts[0] = checksum64(buf_bytes(&model->config));
	parts[1] = checksum64(bytes_make(model->versions, model->version_count * sizeof(*model->versions)));
	return checksum64(bytes_make(parts, sizeof(parts)));
}

static enum status
config(void *context, const char *place, char **text, size_t *length, struct error *error)
{
	const struct followed_model *model = find_model(context, place);

	if (model == NULL) {
		return error_set(error, STATUS_NOT_FOUND, "model '%s' is gone", place);
	}
	*length = model->config.length;
	*text = memory_text_of(buf_bytes(&model->config));
	return STATUS_OK;
}

static enum status
versions(void *context, const char *place, int64_t **found, size_t *count, struct error *error)
{
	const struct followed_model *model = find_model(context, place);

	*found = NULL;
	*count = 0;
	if (model == NULL) {
		return error_set(error, STATUS_NOT_FOUND, "model '%s' is gone", place);
	}
	*found = memory_array(model->version_count, sizeof(**found));
	if (model->version_count > 0) {
		memcpy(*found, model->versions, model->version_count * sizeof(**found));
	}
	*count = model->version_count;
	return STATUS_OK;
}

struct model_source
follower_source(struct follower *follower)
{
	return (struct model_source){.list = list,
				     .find = find,
				     .stamp = stamp,
				     .config = config,
				     .config_is_json = true,
				     .versions = versions,
				     .context = follower};
}

/* --- Life --- */

static void
free_model(struct followed_model *model)
{
	free(model->name);
	free(model->versions);
	free(model->word);
	buf_fini(&model->config);
}

static bool
is_among(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0) {
			return true;
		}
	}
	return false;
}

void
follower_want(struct follower *follower, const char *const *names, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < follower->model_count; i++) {
		if (is_among(follower->models[i].name, names, count)) {
			follower->models[kept++] = follower->models[i];
		} else {
			free_model(&follower->models[i]);
		}
	}
	follower->model_count = kept;
	for (size_t i = 0; i < count; i++) {
		if (find_model(follower, names[i]) == NULL) {
			(void)add_model(follower, names[i]);
		}
	}
}

const char *
follower_generation(const struct follower *follower)
{
	return follower->generation;
}

bool
follower_shows_loads(const struct follower *follower, const char *name)
{
	bool any = false;

	for (size_t i = 0; i < follower->replica_count; i++) {
		any = any || follower->replicas[i].was_reached;
	}
	for (size_t i = 0; i < follower->replica_count; i++) {
		if ((follower->replicas[i].was_reached || !any) &&
		    !replica_view_has_counters(&follower->replicas[i].view, name)) {
			return false;
		}
	}
	return true;
}

bool
follower_has_number(const struct follower *follower, const char *name)
{
	const struct followed_model *model = find_model(follower, name);

	return model != NULL && model->word == NULL;
}

const char *
follower_trouble(const struct follower *follower)
{
	return follower->told_unreachable ? follower->why : NULL;
}

bool
follower_count(const struct follower *follower, size_t *models, size_t *cached)
{
	*models = atomic_load(&follower->told_models);
	*cached = atomic_load(&follower->told_cached);
	return atomic_load(&follower->told_reached);
}

void
follower_note_change(struct follower *follower)
{
	atomic_store(&follower->changed, true);
}

static void
on_wake(struct loop_mail *mail)
{
	(void)mail;
}

void
follower_stop(struct follower *follower)
{
	if (!atomic_exchange(&follower->stopping, true)) {
		follower->wake.deliver = on_wake;
		loop_post(follower->loop, &follower->wake);
	}
}

struct follower *
follower_new(const struct follower_options *options, struct error *error)
{
	struct follower *follower = memory_new(sizeof(*follower));

	follower->options = options;
	follower->loop = loop_new(error);
	if (follower->loop == NULL) {
		follower_free(follower);
		return NULL;
	}
	follower->lane = upstream_lane_new(options->upstream, follower->loop);
	follower->replica_count = upstream_count(options->upstream);
	follower->replicas = memory_array(follower->replica_count, sizeof(*follower->replicas));
	follower->group = group_new(&(struct group_options){.name = options->group,
							    .store = options->store,
							    .loop = follower->loop,
							    .stopping = &follower->stopping,
							    .poll_secs = options->poll_secs});
	if (options->generation == NULL) {
		group_enter(follower->group, follower->generation);
	}
	return follower;
}

/* What has just passed through is news for others, although it is not looked at any more. */
static void
tell_last(struct follower *follower)
{
	if (atomic_load(&follower->changed) || follower->moved != NULL) {
		group_move(follower->group);
	}
	atomic_store(&follower->stopping, false); /* the store is waited for */
	group_tell_last(follower->group);
}

void
follower_free(struct follower *follower)
{
	if (follower == NULL) {
		return;
	}
	if (follower->group != NULL) {
		tell_last(follower);
	}
	group_free(follower->group);
	upstream_lane_free(follower->lane);
	loop_free(follower->loop);
	for (size_t i = 0; i < follower->replica_count; i++) {
		replica_view_fini(&follower->replicas[i].view);
		buf_fini(&follower->replicas[i].metadata);
	}
	for (size_t i = 0; i < follower->model_count; i++) {
		free_model(&follower->models[i]);
	}
	free(follower->models);
	free(follower->replicas);
	free(follower);
}
